"""SSD on the C++ kernel of the selective scan, which sees a head as channels that are alike."""

from efficarch.scan.base import ScanOutput
from efficarch.scan.ssd.base import SsdInputs, per_channel, per_head

# H heads, P channels of a head


def scan(inputs: SsdInputs, *, return_last_state: bool = False) -> ScanOutput:
    """Run the scan of ``inputs`` as a selective scan of H * P channels; see ``scan.cpp.scan``.

    The kernel makes a head's one decay anew for each channel and state.
    """
    from efficarch.scan import cpp  # knows the multi-resolution scan, which knows the table

    output = cpp.scan(per_channel(inputs), return_last_state=return_last_state)
    return per_head(output, inputs)
