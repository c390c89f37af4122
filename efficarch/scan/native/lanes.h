// Vectors of channels and the functions of them that the scan needs, in GCC's and Clang's vector
// extensions; AVX-512 has instructions of its own for the two ends of an exponential.
#pragma once

#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace efficarch {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T>
struct Lanes;
template <>
struct Lanes<float> {
  typedef float Vector __attribute__((vector_size(kVectorBytes)));
  typedef int Integers __attribute__((vector_size(kVectorBytes)));
};
template <>
struct Lanes<double> {
  typedef double Vector __attribute__((vector_size(kVectorBytes)));
  typedef long long Integers __attribute__((vector_size(kVectorBytes)));
};

template <class T>
using Vector = typename Lanes<T>::Vector;

// channels in one vector
template <class T>
constexpr int kWidth = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
inline Vector<T> splat(T value) {
  return value - Vector<T>{};  // not "+", which would turn -0.0 into 0.0
}

template <class T>
inline Vector<T> load(const T* from) {
  Vector<T> vector;
  std::memcpy(&vector, from, sizeof(vector));
  return vector;
}

template <class T>
inline void store(T* to, Vector<T> vector) {
  std::memcpy(to, &vector, sizeof(vector));
}

template <class T>
inline Vector<T> load_some(const T* from, int count) {
  Vector<T> vector{};
  std::memcpy(&vector, from, sizeof(T) * count);
  return vector;
}

template <class T>
inline void store_some(T* to, Vector<T> vector, int count) {
  std::memcpy(to, &vector, sizeof(T) * count);
}

inline Vector<double> exp2(Vector<double> x) {
  for (int lane = 0; lane < kWidth<double>; ++lane) x[lane] = std::exp2(x[lane]);
  return x;
}

// 2^f - 1 over f for |f| <= 1/2 by the polynomial of degree 5 whose largest relative error is
// smallest (9.2e-8) among those with p(0) = 1, so that a step of size zero decays nothing.
inline Vector<float> exp2_fraction(Vector<float> f) {
  Vector<float> p = splat(0.00132647047f);
  p = p * f + 0.00967151343f;
  p = p * f + 0.0555073384f;
  p = p * f + 0.240222421f;
  p = p * f + 0.693146977f;
  return p * f + 1.0f;
}

// 2^x within 2.5 ulp; 0 where the result is below the normal numbers (with AVX-512 below the
// subnormal ones), infinity where it is above all (without AVX-512 from x = 127.5 on), NaN for NaN
// alone. x must not be infinite.
inline Vector<float> exp2(Vector<float> x) {
#if defined(__AVX512F__)
  const __m512 whole = _mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const Vector<float> p = exp2_fraction(x - (Vector<float>)whole);
  return (Vector<float>)_mm512_scalef_ps((__m512)p, whole);
#else
  using Integers = Lanes<float>::Integers;
  x = x < -127.0f ? splat(-127.0f) : x;
  x = x > 128.0f ? splat(128.0f) : x;
  // adding 1.5 * 2^23 leaves the nearest whole number in the low bits of the sum
  const Vector<float> shifted = x + 12582912.0f;
  const Vector<float> p = exp2_fraction(x - (shifted - 12582912.0f));
  Integers bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  bits = (bits - 0x4B400000 + 127) << 23;
  Vector<float> scale;
  std::memcpy(&scale, &bits, sizeof(scale));
  return p * scale;
#endif
}

// x^n for n > 0
template <class T>
inline Vector<T> power(Vector<T> x, int64_t n) {
  Vector<T> result = splat<T>(1);
  for (; n; n /= 2, x *= x)
    if (n % 2) result *= x;
  return result;
}

constexpr double kLog2E = 1.4426950408889634;

// e^x for any x, infinite ones too
template <class T>
inline Vector<T> exp(Vector<T> x) {
  constexpr T kLimit = std::is_same<T, float>::value ? 200 : 2000;
  x = x * static_cast<T>(kLog2E);
  x = x < -kLimit ? splat<T>(-kLimit) : x;
  x = x > kLimit ? splat<T>(kLimit) : x;
  return exp2(x);
}

inline Vector<double> log1p(Vector<double> x) {
  for (int lane = 0; lane < kWidth<double>; ++lane) x[lane] = std::log1p(x[lane]);
  return x;
}

// log(1 + x) for 0 <= x <= 1 with the digits of small x kept: 2 atanh(x / (2 + x))
inline Vector<float> log1p(Vector<float> x) {
  const Vector<float> s = x / (2.0f + x);
  const Vector<float> q = s * s;
  Vector<float> p = splat(0.140074434f);
  p = p * q + 0.140006467f;
  p = p * q + 0.200107732f;
  p = p * q + 0.333332083f;
  return 2.0f * (s + s * q * p);
}

// log(1 + e^x); above 20 it is x to rounding, where torch returns x as well
template <class T>
inline Vector<T> softplus(Vector<T> x) {
  const Vector<T> positive = x > 0 ? x : Vector<T>{};
  return positive + log1p(exp<T>(x > 0 ? -x : x));
}

template <class T>
inline Vector<T> silu(Vector<T> x) {
  return x / (T(1) + exp<T>(-x));
}

// a0 b0 a1 b1 ... of the first (Half = 0) or second (Half = 1) half of the lanes
template <class T, int Half, int... Lane>
inline Vector<T> interleave(Vector<T> a, Vector<T> b, std::integer_sequence<int, Lane...>) {
#if defined(__clang__)
  return __builtin_shufflevector(
      a, b, (Lane / 2 + Half * kWidth<T> / 2 + Lane % 2 * kWidth<T>)...);
#else
  constexpr typename Lanes<T>::Integers from = {
      (Lane / 2 + Half * kWidth<T> / 2 + Lane % 2 * kWidth<T>)...};
  return __builtin_shuffle(a, b, from);
#endif
}

// transposes as many vectors as a vector has lanes
template <class T>
inline void transpose(Vector<T>* rows) {
  constexpr int width = kWidth<T>;
  const auto lanes = std::make_integer_sequence<int, width>{};
  for (int round = 1; round < width; round *= 2) {
    Vector<T> next[width];
    for (int i = 0; i < width / 2; ++i) {
      next[2 * i] = interleave<T, 0>(rows[i], rows[i + width / 2], lanes);
      next[2 * i + 1] = interleave<T, 1>(rows[i], rows[i + width / 2], lanes);
    }
    for (int i = 0; i < width; ++i) rows[i] = next[i];
  }
}

}  // namespace efficarch
