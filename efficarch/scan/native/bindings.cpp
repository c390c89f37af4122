// The operators that Python calls; tensors arrive checked and laid out by efficarch/scan/cpp.py.
// B batch, D channels, N state size, L length, G groups of channels that share B and C
#include "scan.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <optional>
#include <tuple>

namespace efficarch {
namespace {

using at::Tensor;
using Optional = std::optional<Tensor>;

template <class T>
Sequences<T> sequences(const Optional& tensor) {
  if (!tensor) return {nullptr, 0, 0, 0};
  return {static_cast<T*>(tensor->data_ptr()), tensor->stride(0), tensor->stride(1), tensor->stride(2)};
}

template <class T>
const T* pointer(const Optional& tensor) {
  return tensor ? tensor->const_data_ptr<T>() : nullptr;
}

Ladder ladder(const Optional& deferred, const Optional& base, const Optional& rung) {
  if (!base) return Ladder::kNone;
  if (!deferred) return Ladder::kEqual;
  return rung ? Ladder::kLookedUp : Ladder::kLinear;
}

template <class T>
void run(const Problem<T>& problem) {
  at::parallel_for(0, blocks(problem), 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) scan_block(problem, block);
  });
}

// out [B, D, L] laid out as u, and the state [B, D, N] after the last step
std::tuple<Tensor, Tensor> scan(
    const Tensor& u, const Tensor& delta, const Tensor& A, const Tensor& B, const Tensor& C,
    const Optional& D, const Optional& z, const Optional& bias, bool softplus,
    const Optional& deferred, const Optional& base, const Optional& rung) {
  Tensor out = at::empty_like(u);
  Tensor last = at::empty({u.size(0), u.size(1), A.size(1)}, u.options());
  AT_DISPATCH_FLOATING_TYPES(u.scalar_type(), "efficarch::scan", [&] {
    using T = scalar_t;
    run<T>({u.size(0), u.size(1), u.size(2), A.size(1), B.size(1), sequences<const T>(u),
            sequences<const T>(delta), sequences<const T>(z), sequences<T>(out), pointer<T>(A),
            pointer<T>(B), pointer<T>(C), pointer<T>(D), pointer<T>(bias), softplus,
            last.mutable_data_ptr<T>(), ladder(deferred, base, rung), pointer<bool>(deferred),
            pointer<T>(base), pointer<int>(rung)});
  });
  return {out, last};
}

Tensor exponential(const Tensor& x, bool binary) {
  Tensor out = at::empty_like(x);
  const float* from = x.const_data_ptr<float>();
  float* to = out.mutable_data_ptr<float>();
  at::parallel_for(0, x.numel(), 1 << 15, [&](int64_t begin, int64_t end) {
    exponentials(from + begin, to + begin, end - begin, binary);
  });
  return out;
}

}  // namespace
}  // namespace efficarch

TORCH_LIBRARY(efficarch, library) {
  library.def(
      "scan(Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, "
      "Tensor? bias, bool softplus, Tensor? deferred, Tensor? base, Tensor? rung) -> "
      "(Tensor, Tensor)",
      &efficarch::scan);
  library.def("exponential(Tensor x, bool binary) -> Tensor", &efficarch::exponential);
}
