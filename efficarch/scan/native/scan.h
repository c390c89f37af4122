// What the kernels take: pointers and sizes, no torch.
// B batch, D channels, N state size, L length, G groups of channels that share B and C
#pragma once

#include <cstdint>

namespace efficarch {

// tokens of the longest run, the committing one included; MAX_RUN of efficarch/scan/mrss/plan.py
constexpr int kLongestRun = 8;

// How the decays of a channel's states over a step follow from one, that of its first rung: not at
// all, as the same, as its powers 1, 2, 3, ..., or as powers that are looked up among MULTIPLES of
// efficarch/scan/mrss/ladder.py, 1 2 3 4 6 8 12 ...; each from the fourth on is twice the last but one.
enum class Ladder { kNone, kEqual, kLinear, kLookedUp };
constexpr int kRungs = 16;

// [B, D, L] anywhere in memory, as long as neighbouring steps or neighbouring channels adjoin
template <class T>
struct Sequences {
  T* data;  // null where there is none
  int64_t per_row, per_channel, per_step;
};

template <class T>
struct Problem {
  int64_t batch, channels, length, states, groups;
  Sequences<const T> u, delta, z;
  Sequences<T> out;
  const T* A;  // [D, N]
  const T* B;  // [B, G, L, N]
  const T* C;  // [B, G, L, N]
  const T* D;  // [D] or null
  const T* bias;  // [D] or null
  bool softplus;
  T* last;  // [B, D, N], the state after the last step
  Ladder ladder;  // of every step where equal, of the deferred ones and their commits otherwise
  const bool* deferred;  // [B, L], or null where there are none
  const T* base;  // [D], rates of the first rung, or null without a ladder
  const int* rung;  // [N], each below kRungs, or null where none is looked up
};

// Blocks of channels that share a vector and a group, over all rows.
template <class T>
int64_t blocks(const Problem<T>& problem);

// Runs the whole length of one block. Blocks are independent of each other.
template <class T>
void scan_block(const Problem<T>& problem, int64_t block);

// The exponentials by themselves, to test and time them: to[i] = e^from[i], as in softplus and gate,
// or, binary, 2^from[i], as in the recurrence.
void exponentials(const float* from, float* to, int64_t count, bool binary);

}  // namespace efficarch
