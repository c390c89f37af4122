// What the kernels take: pointers and sizes, no torch.
// B batch, D channels, N state size, L length, G groups of channels that share B and C
#pragma once

#include <cstdint>

namespace efficarch {

// most tokens that wait for one commit; MAX_RUN of efficarch/scan/mrss/plan.py less one
constexpr int kMostPending = 3;

// rungs of the ladder of decays, and their rates over that of the first: MULTIPLES of
// efficarch/scan/mrss/ladder.py, 1 2 3 4 6 8 12 ...; each from the fourth on is twice the last but one
constexpr int kRungs = 16;

// how near their mean the B of a steady run are; STEADY of efficarch/scan/mrss/runs.py
constexpr double kSteady = 0.25;

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
  const bool* deferred;  // [B, L], or null where every step updates the state
  const T* base;  // [D], rates of the first rung
  const int* rung;  // [N], each below the number of rungs
  int rungs;
  // [B, G, L, products_per_step(rungs)] of a deferred step: C B, then for the steps before it, the
  // nearest first, the parts of C B[before] on each rung
  const T* products;
  const T* shared;  // [B, G, L, N], at the commit of a steady run the mean of its B
  const bool* steady;  // [B, G, L], whether a step commits a steady run
};

constexpr int products_per_step(int rungs) { return 1 + (kMostPending - 1) * rungs; }

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
