"""SSD on the C++ kernel of the selective scan, which sees a head as channels that are alike."""

from torch import Tensor

from efficarch.scan.base import ScanOutput
from efficarch.scan.ssd.base import SsdInputs, per_channel

# B batch, L length, H heads, P channels of a head, N state size


def scan(inputs: SsdInputs, *, return_last_state: bool = False) -> ScanOutput:
    """Run the scan of ``inputs`` as a selective scan of H * P channels; see ``scan.cpp.scan``."""
    from efficarch.scan import cpp  # knows the multi-resolution scan, which knows the table

    output = cpp.scan(per_channel(inputs), return_last_state=return_last_state)
    if isinstance(output, Tensor):
        return per_head(output, inputs)
    y, state = output  # [B, H P, L], [B, H P, N]
    return per_head(y, inputs), state.unflatten(1, inputs.x.shape[2:])


def per_head(y: Tensor, inputs: SsdInputs) -> Tensor:
    """Return the output of a selective scan in the layout of SSD, [B, H P, L] -> [B, L, H, P]."""
    return y.transpose(1, 2).reshape(inputs.x.shape).to(inputs.x.dtype)
