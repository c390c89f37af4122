// The two steps of a Mamba mixer that PyTorch is slow at on the CPU, with their gradients:
//   convolution: x = silu(causal depthwise convolution of x over 4 steps)
//   scan: h[t] = exp(A * delta[t]) * h[t-1] + delta[t] * x[t] * B[t],
//         out[t] = (sum over n of C[t] * h[t] + D * x[t]) * silu(z[t])
// (arXiv 2312.00752, section 3.2, Euler input term). Each call runs on one thread.
//
// Sixteen channels, a tile, go through time together, each with sixteen states, one vector. On the
// way forward the states of every 32nd step are kept; the way back runs each such chunk again into
// a buffer that stays in the cache, then the adjoint of the recurrence through it.
//
// b batch, l length, d channels, n = 16 states, k chunks

#include <torch/extension.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace {

constexpr int64_t kLanes = 16;
constexpr int64_t kTaps = 4;
constexpr int64_t kChunk = 32;
constexpr int64_t kTile = kLanes * kLanes;

typedef float Vector __attribute__((vector_size(64)));
typedef int32_t Integers __attribute__((vector_size(64)));

inline Vector load(const float* from) {
  Vector value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

inline void store(float* to, Vector value) { std::memcpy(to, &value, sizeof(value)); }

inline void add(float* to, Vector value) { store(to, load(to) + value); }

// 2^(n + r) with n whole and |r| <= 1/2, the factor 2^r by its Taylor series to r^6
inline Vector exponential(Vector x) {
  Vector scaled = x * 1.44269504088896341f;
  scaled = scaled < -126.0f ? Vector{} - 126.0f : scaled;
  scaled = scaled > 126.0f ? Vector{} + 126.0f : scaled;
  const Vector shifted = scaled + 12582912.0f;  // 1.5 * 2^23: rounds the fraction away
  const Vector rest = scaled - (shifted - 12582912.0f);
  Vector power = rest * 1.5403530393381609e-4f + 1.3333558146428443e-3f;
  power = power * rest + 9.6181291076284772e-3f;
  power = power * rest + 5.5504108664821580e-2f;
  power = power * rest + 2.4022650695910072e-1f;
  power = power * rest + 6.9314718055994531e-1f;
  power = power * rest + 1.0f;
  Integers whole, bits;
  std::memcpy(&whole, &shifted, sizeof(whole));
  std::memcpy(&bits, &power, sizeof(bits));
  bits += whole << 23;
  Vector result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

inline Vector sigmoid(Vector x) { return 1.0f / (1.0f + exponential(-x)); }

// the derivative of x * sigmoid(x)
inline Vector silu_slope(Vector x, Vector gate) { return gate * (1.0f + x * (1.0f - gate)); }

// the sums of sixteen vectors, as one vector: halves, quarters, eighths of two vectors at a time
inline Vector sums(const Vector* rows) {
  Vector eights[8], fours[4], twos[2];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    const Vector a = rows[i], b = rows[i + 8];
    eights[i] =
        __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
        __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const Vector a = eights[i], b = eights[i + 4];
    fours[i] =
        __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
        __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const Vector a = fours[i], b = fours[i + 2];
    twos[i] =
        __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
        __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
  }
  const Vector a = twos[0], b = twos[1];
  return __builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
         __builtin_shufflevector(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
}

void check(const std::vector<torch::Tensor>& tensors) {
  for (const auto& tensor : tensors) {
    TORCH_CHECK(tensor.is_contiguous() && tensor.scalar_type() == torch::kFloat32,
                "the mixer takes contiguous float32 tensors");
  }
  TORCH_CHECK(tensors[0].size(2) % kLanes == 0, "the channels are a multiple of 16, not ",
              tensors[0].size(2));
}

// one tile of one sequence: where its inputs lie, and how far apart two steps are
struct Tile {
  const float *x, *delta, *z, *B, *C;
  int64_t stride;
  Vector a[kLanes], skip;

  // h after step t; its decays and products with C go where they are wanted
  inline void step(int64_t t, Vector* h, float* decays, Vector* read) const {
    const float* delta_t = delta + t * stride;
    const float* x_t = x + t * stride;
    const Vector b = load(B + t * kLanes), c = load(C + t * kLanes);
#pragma GCC unroll 16
    for (int64_t i = 0; i < kLanes; ++i) {
      const Vector decay = exponential(a[i] * delta_t[i]);
      h[i] = decay * h[i] + b * (delta_t[i] * x_t[i]);
      if (decays) store(decays + i * kLanes, decay);
      if (read) read[i] = c * h[i];
    }
  }
};

Tile tile_of(const std::vector<torch::Tensor>& in, int64_t sequence, int64_t channel) {
  const int64_t length = in[0].size(1), stride = in[0].size(2);
  const int64_t at = sequence * length * stride + channel, small = sequence * length * kLanes;
  Tile tile{in[0].data_ptr<float>() + at,    in[1].data_ptr<float>() + at,
            in[2].data_ptr<float>() + at,    in[4].data_ptr<float>() + small,
            in[5].data_ptr<float>() + small, stride};
  for (int64_t i = 0; i < kLanes; ++i) {
    tile.a[i] = load(in[3].data_ptr<float>() + (channel + i) * kLanes);
  }
  tile.skip = load(in[6].data_ptr<float>() + channel);
  return tile;
}

// where the gradients of a tile go
struct Gradients {
  float *x, *delta, *z, *A, *B, *C, *D;
};

// the adjoint through steps [first, last), given the state before `first` and g from after `last`
void back(const Tile& tile, const Gradients& to, const float* dout, const float* y, int64_t first,
          int64_t last, const float* start, Vector* g, Vector* da, Vector* dskip) {
  float states[(kChunk + 1) * kTile], decays[kChunk * kTile];
  std::memcpy(states, start, kTile * sizeof(float));
  Vector h[kLanes], added[kLanes], exponents[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) h[i] = load(start + i * kLanes);
  for (int64_t t = first; t < last; ++t) {
    tile.step(t, h, decays + (t - first) * kTile, nullptr);
    std::memcpy(states + (t - first + 1) * kTile, h, sizeof(h));
  }
  for (int64_t t = last - 1; t >= first; --t) {
    const int64_t at = t * tile.stride;
    const float *before = states + (t - first) * kTile, *after = before + kTile;
    const Vector x = load(tile.x + at), z = load(tile.z + at), step = load(tile.delta + at);
    const Vector b = load(tile.B + t * kLanes), c = load(tile.C + t * kLanes);
    const Vector gate = sigmoid(z), out = load(dout + at), dy = out * z * gate;
    store(to.z + at, out * load(y + at) * silu_slope(z, gate));
    *dskip += dy * x;
    Vector db{}, dc{};
    const Vector input = step * x;
#pragma GCC unroll 16
    for (int64_t i = 0; i < kLanes; ++i) {
      g[i] += c * dy[i];
      dc += load(after + i * kLanes) * dy[i];
      db += g[i] * input[i];
      added[i] = g[i] * b;
      g[i] *= load(decays + (t - first) * kTile + i * kLanes);
      const Vector exponent = g[i] * load(before + i * kLanes);
      da[i] += exponent * step[i];
      exponents[i] = exponent * tile.a[i];
    }
    add(to.B + t * kLanes, db);
    add(to.C + t * kLanes, dc);
    const Vector dinput = sums(added);
    store(to.x + at, dinput * step + dy * tile.skip);
    store(to.delta + at, dinput * x + sums(exponents));
  }
}

}  // namespace

// x, delta, z [b, l, d], A [d, n], B, C [b, l, n], D [d]
// -> out, y + D * x [b, l, d], states [b, d, k, n] in tiles
std::vector<torch::Tensor> scan(const std::vector<torch::Tensor>& in) {
  check(in);
  const int64_t batch = in[0].size(0), length = in[0].size(1), channels = in[0].size(2);
  const int64_t chunks = (length + kChunk - 1) / kChunk;
  torch::Tensor out = torch::empty_like(in[0]), y = torch::empty_like(in[0]);
  torch::Tensor kept = torch::empty({batch, channels / kLanes, chunks, kTile}, in[0].options());
  float* state = kept.data_ptr<float>();
  for (int64_t sequence = 0; sequence < batch; ++sequence) {
    for (int64_t channel = 0; channel < channels; channel += kLanes) {
      const Tile tile = tile_of(in, sequence, channel);
      float* out0 = out.data_ptr<float>() + sequence * length * channels + channel;
      float* y0 = y.data_ptr<float>() + sequence * length * channels + channel;
      Vector h[kLanes] = {}, read[kLanes];
      for (int64_t t = 0; t < length; ++t) {
        if (t % kChunk == 0) {
          std::memcpy(state, h, sizeof(h));
          state += kTile;
        }
        tile.step(t, h, nullptr, read);
        const Vector z = load(tile.z + t * channels);
        const Vector value = sums(read) + tile.skip * load(tile.x + t * channels);
        store(y0 + t * channels, value);
        store(out0 + t * channels, value * z * sigmoid(z));
      }
    }
  }
  return {out, y, kept};
}

// as above, with dout [b, l, d] and what `scan` returned -> the gradients of its inputs, in order
std::vector<torch::Tensor> scan_backward(const torch::Tensor& dout, const torch::Tensor& y,
                                         const torch::Tensor& kept,
                                         const std::vector<torch::Tensor>& in) {
  check({dout});
  const int64_t batch = in[0].size(0), length = in[0].size(1), channels = in[0].size(2);
  const int64_t chunks = kept.size(2);
  std::vector<torch::Tensor> grads;
  for (const auto& tensor : in) grads.push_back(torch::zeros_like(tensor));
  const float* state = kept.data_ptr<float>();
  for (int64_t sequence = 0; sequence < batch; ++sequence) {
    for (int64_t channel = 0; channel < channels; channel += kLanes, state += chunks * kTile) {
      const int64_t at = sequence * length * channels + channel, small = sequence * length * kLanes;
      const Gradients to{grads[0].data_ptr<float>() + at,    grads[1].data_ptr<float>() + at,
                         grads[2].data_ptr<float>() + at,    grads[3].data_ptr<float>(),
                         grads[4].data_ptr<float>() + small, grads[5].data_ptr<float>() + small,
                         grads[6].data_ptr<float>()};
      const Tile tile = tile_of(in, sequence, channel);
      Vector g[kLanes] = {}, da[kLanes] = {}, dskip{};
      for (int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
        back(tile, to, dout.data_ptr<float>() + at, y.data_ptr<float>() + at, chunk * kChunk,
             std::min(length, (chunk + 1) * kChunk), state + chunk * kTile, g, da, &dskip);
      }
      for (int64_t i = 0; i < kLanes; ++i) add(to.A + (channel + i) * kLanes, da[i]);
      add(to.D + channel, dskip);
    }
  }
  return grads;
}

// x [b, l, d], weight [4, d], bias [d] -> silu of the convolution, and the convolution [b, l, d]
std::vector<torch::Tensor> convolution(const torch::Tensor& x, const torch::Tensor& weight,
                                       const torch::Tensor& bias) {
  check({x, weight.unsqueeze(0), bias.view({1, 1, -1})});
  const int64_t batch = x.size(0), length = x.size(1), channels = x.size(2);
  torch::Tensor out = torch::empty_like(x), sum = torch::empty_like(x);
  const float *w = weight.data_ptr<float>(), *bias0 = bias.data_ptr<float>();
  for (int64_t row = 0; row < batch * length; ++row) {
    const float* x0 = x.data_ptr<float>() + row * channels;
    const int64_t past = std::min(row % length, kTaps - 1);
    for (int64_t channel = 0; channel < channels; channel += kLanes) {
      Vector value = load(bias0 + channel);
      for (int64_t back = 0; back <= past; ++back) {
        value += load(w + (kTaps - 1 - back) * channels + channel) *
                 load(x0 + channel - back * channels);
      }
      store(sum.data_ptr<float>() + row * channels + channel, value);
      store(out.data_ptr<float>() + row * channels + channel, value * sigmoid(value));
    }
  }
  return {out, sum};
}

// as above, with dout [b, l, d] and the convolution -> dx, dweight, dbias
std::vector<torch::Tensor> convolution_backward(const torch::Tensor& dout, const torch::Tensor& sum,
                                                const torch::Tensor& x,
                                                const torch::Tensor& weight) {
  check({dout});
  const int64_t batch = x.size(0), length = x.size(1), channels = x.size(2);
  torch::Tensor dx = torch::zeros_like(x), dweight = torch::zeros_like(weight);
  torch::Tensor dbias = torch::zeros({channels}, x.options());
  const float* w = weight.data_ptr<float>();
  float *dw = dweight.data_ptr<float>(), *dbias0 = dbias.data_ptr<float>();
  for (int64_t row = 0; row < batch * length; ++row) {
    const int64_t past = std::min(row % length, kTaps - 1);
    for (int64_t channel = 0; channel < channels; channel += kLanes) {
      const int64_t at = row * channels + channel;
      const Vector value = load(sum.data_ptr<float>() + at);
      const Vector g = load(dout.data_ptr<float>() + at) * silu_slope(value, sigmoid(value));
      add(dbias0 + channel, g);
      for (int64_t back = 0; back <= past; ++back) {
        const int64_t tap = (kTaps - 1 - back) * channels + channel;
        add(dw + tap, g * load(x.data_ptr<float>() + at - back * channels));
        add(dx.data_ptr<float>() + at - back * channels, g * load(w + tap));
      }
    }
  }
  return {dx, dweight, dbias};
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, module) {
  const auto free = py::call_guard<py::gil_scoped_release>();
  module.def("scan", &scan, free);
  module.def("scan_backward", &scan_backward, free);
  module.def("convolution", &convolution, free);
  module.def("convolution_backward", &convolution_backward, free);
}
