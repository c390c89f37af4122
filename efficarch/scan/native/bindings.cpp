// The operators that Python calls; tensors arrive checked and laid out by efficarch/scan/cpp.py.
// B batch, D channels, N state size, L length, G groups of channels that share B and C
#include "scan.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
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

// What the runs of a plan need of B and C, the same for all channels of a group.
struct Shared {
  Tensor products, mean_B, steady;  // as Problem has them
};

// How far the run that step i commits reaches back.
int pending(const bool* flag, int64_t t) {
  int count = 0;
  while (count < kMostPending && t - count > 0 && flag[-count - 1]) ++count;
  return count;
}

// Parts on each rung of C at a deferred step times B there and at the pending steps before it.
template <class T>
void multiply(const T* B, const T* C, const Problem<T>& p, int back, T* out) {
  for (int before = 0; before <= back && before < kMostPending; ++before) {
    T* parts = before ? out + 1 + (before - 1) * p.rungs : out;
    for (int64_t n = 0; n < p.states; ++n)
      parts[before ? p.rung[n] : 0] += C[n] * B[n - before * p.states];
  }
}

// The mean B of a run of count + 1 steps; returns whether all of them are near it.
template <class T>
bool average(const T* B, int64_t states, int count, T* mean) {
  T spread = 0, size = 0;
  for (int64_t n = 0; n < states; ++n) {
    T sum = 0;
    for (int back = 0; back <= count; ++back) sum += B[n - back * states];
    mean[n] = sum / (count + 1);
    size += mean[n] * mean[n];
    for (int back = 0; back <= count; ++back) {
      const T off = B[n - back * states] - mean[n];
      spread += off * off;
    }
  }
  return spread <= static_cast<T>(kSteady * kSteady) * (count + 1) * size;
}

template <class T>
Shared share(Problem<T>& p, const Tensor& B) {
  const auto flags = B.options().dtype(at::kBool);
  Shared shared = {at::zeros({p.batch, p.groups, p.length, products_per_step(p.rungs)}, B.options()),
                   at::empty_like(B), at::empty({p.batch, p.groups, p.length}, flags)};
  T* products = shared.products.mutable_data_ptr<T>();
  T* mean_B = shared.mean_B.mutable_data_ptr<T>();
  bool* steady = shared.steady.mutable_data_ptr<bool>();
  at::parallel_for(0, p.batch * p.groups * p.length, 1 << 13, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t t = i % p.length;
      const bool* flag = p.deferred + i / (p.groups * p.length) * p.length + t;
      const T* b = p.B + i * p.states;
      const int before = pending(flag, t);
      if (*flag) {
        multiply(b, p.C + i * p.states, p, before, products + i * products_per_step(p.rungs));
      } else {
        steady[i] = before && average(b, p.states, before, mean_B + i * p.states);
      }
    }
  });
  p.products = products;
  p.shared = mean_B;
  p.steady = steady;
  return shared;
}

// The number of rungs that a kernel exists for.
int rungs(const Optional& rung) {
  if (!rung) return 0;
  const int most = *std::max_element(rung->const_data_ptr<int>(), rung->const_data_ptr<int>() + rung->numel());
  return most == 0 ? 1 : most < 8 ? 8 : kRungs;
}

template <class T>
void run(Problem<T> problem, const Tensor& B) {
  const Shared shared = problem.deferred ? share(problem, B) : Shared{};
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
            last.mutable_data_ptr<T>(), pointer<bool>(deferred), pointer<T>(base),
            pointer<int>(rung), rungs(rung), nullptr, nullptr, nullptr},
           B);
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
