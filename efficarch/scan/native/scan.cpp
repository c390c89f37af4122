// The selective scan of Mamba (arXiv 2312.00752, section 3.2) and its multi-resolution form.
//
// One vector holds one step of as many channels as it has lanes; the states of a block of channels
// stay in registers while time advances over a tile. What costs: per step, channel and state one
// exponential and three multiply-adds; per step and channel the softplus, the gate and the
// transposition of four arrays. A deferred step of the multi-resolution form has no exponential
// per state: one multiply-add reads the state, two fold its input into the run's commit.
#include "scan.h"

#include "tiles.h"

#include <limits>
#include <vector>

namespace efficarch {
namespace {

// What is kept of one tile. Arrays of steps begin with room for the tokens that the tile before
// left pending, so that a run may cross the boundary of two tiles.
template <class T>
struct Tile {
  static constexpr int kSteps = kTile + kWidth<T>;
  using Steps = Vector<T>[kMostPending + kSteps];
  alignas(64) Steps step;   // delta; of a committed token summed over its run
  alignas(64) Steps input;  // delta * u; of a pending token the part that does not decay
  alignas(64) Steps early;  // of a pending token the part that decays with the whole run
  alignas(64) Steps elapsed;  // of a deferred token: delta since the last commit
  alignas(64) Steps decay;  // of a deferred token: of the state since the last commit
  alignas(64) Vector<T> y[kSteps];
};

// One run as it goes on from tile to tile.
template <class T>
struct Run {
  int pending = 0;
  Vector<T> elapsed{};
  Vector<T> decay = splat<T>(1);
  Vector<T> added[kMostPending];  // delta * u of the pending tokens, decayed until now
};

template <class T>
struct Block {
  Place at;
  int64_t group;
  std::vector<Vector<T>> A, state;  // [N] each
  Vector<T> D{}, bias{}, mean_A{};
  Vector<T> largest_step{};  // beyond it the exponents of a run might overflow
};

template <class T>
Block<T> make_block(const Problem<T>& p, int64_t index) {
  constexpr int width = kWidth<T>;
  const int64_t per_group = p.channels / p.groups;
  const int64_t blocks_per_group = (per_group + width - 1) / width;
  Block<T> block;
  block.at.row = index / (p.groups * blocks_per_group);
  block.group = index / blocks_per_group % p.groups;
  const int64_t within = index % blocks_per_group * width;
  block.at.channel = block.group * per_group + within;
  block.at.lanes = static_cast<int>(per_group - within < width ? per_group - within : width);
  block.A.resize(p.states);
  block.state.resize(p.states);
  Vector<T> largest = splat<T>(1);
  for (int64_t n = 0; n < p.states; ++n) {
    Vector<T> A{};
    for (int lane = 0; lane < block.at.lanes; ++lane)
      A[lane] = p.A[(block.at.channel + lane) * p.states + n] * static_cast<T>(kLog2E);
    block.A[n] = A;
    block.mean_A += A;
    const Vector<T> size = A < 0 ? -A : A;
    largest = size > largest ? size : largest;
  }
  block.mean_A /= static_cast<T>(p.states);
  block.largest_step = splat<T>(std::numeric_limits<T>::max() / (kMostPending + 1)) / largest;
  if (p.D) block.D = load_some(p.D + block.at.channel, block.at.lanes);
  if (p.bias) block.bias = load_some(p.bias + block.at.channel, block.at.lanes);
  return block;
}

// Fills step, input and the start of y.
template <class T>
void prepare(const Problem<T>& p, const Block<T>& block, Tile<T>& tile) {
  Vector<T>* const step = tile.step + kMostPending;
  Vector<T>* const input = tile.input + kMostPending;
  load_tile(p.delta, block.at, step);
  load_tile(p.u, block.at, input);
  for (int t = 0; t < block.at.steps; ++t) {
    const Vector<T> biased = step[t] + block.bias;
    const Vector<T> delta = p.softplus ? softplus<T>(biased) : biased;
    const Vector<T> u = input[t];
    step[t] = delta > block.largest_step ? block.largest_step : delta;
    input[t] = delta * u;
    tile.y[t] = block.D * u;
  }
}

// Splits the inputs of the pending tokens between the two ends of their run: the chord weight
// 1 - share * (1 - decay of the run) is one part that decays with the run and one that does not.
template <class T>
void commit_inputs(Tile<T>& tile, Run<T>& run, int t) {
  const int e = kMostPending + t;
  const Vector<T> span = run.elapsed + tile.step[e];
  tile.step[e] = span;
  // where no time passed at all, every weight is 1
  const Vector<T> per_span = span > 0 ? T(1) / span : Vector<T>{};
  for (int i = e - run.pending; i < e; ++i) {
    tile.early[i] = (span - tile.elapsed[i]) * per_span * tile.input[i];
    tile.input[i] -= tile.early[i];
  }
  run = Run<T>{};
}

// Adds what a deferred token reads of the run's own inputs to its y.
template <class T>
void defer_input(const Block<T>& block, const T* products, Tile<T>& tile, Run<T>& run, int t) {
  const int i = kMostPending + t;
  const Vector<T> decay = exp2(block.mean_A * tile.step[i]);
  run.decay *= decay;
  run.elapsed += tile.step[i];
  tile.decay[i] = run.decay;
  tile.elapsed[i] = run.elapsed;
  Vector<T> y = tile.y[t] + tile.input[i] * products[0];
  for (int j = 0; j < run.pending; ++j) {
    run.added[j] *= decay;
    y += run.added[j] * products[run.pending - j];
  }
  run.added[run.pending++] = tile.input[i];
  tile.y[t] = y;
}

// What the loops over time need of one tile and some of the states.
template <class T>
struct Stretch {
  const Vector<T>* A;
  Vector<T>* state;
  const T* B;  // row of the tile's first step, at the first of the states
  const T* C;
  int64_t per_step;
  int steps;
  const bool* deferred;
  int pending;
};

// One commit of a run with Pending tokens before it: h <- decay * (h + early) + input, y += C h.
template <class T, int States, int Pending>
inline __attribute__((always_inline)) void commit(
    const Stretch<T>& s, Tile<T>& tile, int t, Vector<T>* h) {
  const Vector<T>* input = tile.input + kMostPending + t;
  const Vector<T>* early = tile.early + kMostPending + t;
  const Vector<T> span = tile.step[kMostPending + t];
  const T* B = s.B + t * s.per_step;
  const T* C = s.C + t * s.per_step;
  Vector<T> y[2] = {tile.y[t], Vector<T>{}};
#pragma GCC unroll 16
  for (int n = 0; n < States; ++n) {
    Vector<T> decays = h[n];
    Vector<T> stays = input[0] * B[n];
#pragma GCC unroll 4
    for (int j = 1; j <= Pending; ++j) {
      decays += early[-j] * B[n - j * s.per_step];
      stays += input[-j] * B[n - j * s.per_step];
    }
    h[n] = exp2(s.A[n] * span) * decays + stays;
    y[n % 2] += h[n] * C[n];
  }
  tile.y[t] = y[0] + y[1];
}

template <class T, int States>
inline __attribute__((always_inline)) void read(
    const Stretch<T>& s, Tile<T>& tile, int t, const Vector<T>* h) {
  const T* C = s.C + t * s.per_step;
  Vector<T> sum[4] = {};
#pragma GCC unroll 16
  for (int n = 0; n < States; ++n) sum[n % 4] += h[n] * C[n];
  tile.y[t] += tile.decay[kMostPending + t] * ((sum[0] + sum[1]) + (sum[2] + sum[3]));
}

template <class T, int States>
void advance(const Stretch<T>& s, Tile<T>& tile) {
  Vector<T> h[States];
  for (int n = 0; n < States; ++n) h[n] = s.state[n];
  for (int t = 0; t < s.steps; ++t) commit<T, States, 0>(s, tile, t, h);
  for (int n = 0; n < States; ++n) s.state[n] = h[n];
}

template <class T, int States>
void advance_runs(const Stretch<T>& s, Tile<T>& tile) {
  Vector<T> h[States];
  for (int n = 0; n < States; ++n) h[n] = s.state[n];
  int pending = s.pending;
  for (int t = 0; t < s.steps; ++t) {
    if (s.deferred[t]) {
      read<T, States>(s, tile, t, h);
      ++pending;
      continue;
    }
    switch (pending) {
      case 0: commit<T, States, 0>(s, tile, t, h); break;
      case 1: commit<T, States, 1>(s, tile, t, h); break;
      case 2: commit<T, States, 2>(s, tile, t, h); break;
      default: commit<T, States, 3>(s, tile, t, h);
    }
    pending = 0;
  }
  for (int n = 0; n < States; ++n) s.state[n] = h[n];
}

// Advances all states over one tile, as many at a time as fit into registers.
template <class T, int States>
void advance_states(Stretch<T> s, int64_t states, Tile<T>& tile) {
  for (; states >= States; states -= States) {
    if (s.deferred) {
      advance_runs<T, States>(s, tile);
    } else {
      advance<T, States>(s, tile);
    }
    s.A += States;
    s.state += States;
    s.B += States;
    s.C += States;
  }
  if constexpr (States > 1) {
    if (states) advance_states<T, States / 2>(s, states, tile);
  }
}

template <class T>
void finish(const Problem<T>& p, const Block<T>& block, Tile<T>& tile) {
  if (p.z.data) {
    Vector<T>* const z = tile.step + kMostPending;  // the steps are no longer needed
    load_tile(p.z, block.at, z);
    for (int t = 0; t < block.at.steps; ++t) tile.y[t] *= silu<T>(z[t]);
  }
  store_tile(p.out, block.at, tile.y);
}

// Moves the tokens that are still pending in front of the next tile.
template <class T>
void keep_pending(Tile<T>& tile, int steps) {
  for (int i = 0; i < kMostPending; ++i) {
    tile.input[i] = tile.input[i + steps];
    tile.elapsed[i] = tile.elapsed[i + steps];
  }
}

}  // namespace

template <class T>
int64_t blocks(const Problem<T>& p) {
  return p.batch * p.groups * ((p.channels / p.groups + kWidth<T> - 1) / kWidth<T>);
}

template <class T>
void scan_block(const Problem<T>& p, int64_t index) {
  Block<T> block = make_block(p, index);
  Place& at = block.at;
  Tile<T> tile;
  Run<T> run;
  const int64_t first = (at.row * p.groups + block.group) * p.length;
  for (at.start = 0; at.start < p.length; at.start += at.steps) {
    at.steps = static_cast<int>(p.length - at.start < kTile ? p.length - at.start : kTile);
    prepare(p, block, tile);
    const int64_t row = (first + at.start) * p.states;
    const bool* deferred = p.deferred ? p.deferred + at.row * p.length + at.start : nullptr;
    const Stretch<T> stretch = {block.A.data(), block.state.data(), p.B + row, p.C + row,
                                p.states, at.steps, deferred, run.pending};
    for (int t = 0; deferred && t < at.steps; ++t) {
      if (deferred[t]) {
        defer_input(block, p.products + (first + at.start + t) * kMostPending, tile, run, t);
      } else {
        commit_inputs(tile, run, t);
      }
    }
    advance_states<T, 16>(stretch, p.states, tile);
    finish(p, block, tile);
    if (deferred) keep_pending(tile, at.steps);
  }
  for (int64_t n = 0; n < p.states; ++n)
    for (int lane = 0; lane < at.lanes; ++lane)
      p.last[(at.row * p.channels + at.channel + lane) * p.states + n] = block.state[n][lane];
}

template int64_t blocks(const Problem<float>&);
template int64_t blocks(const Problem<double>&);
template void scan_block(const Problem<float>&, int64_t);
template void scan_block(const Problem<double>&, int64_t);

void exponentials(const float* from, float* to, int64_t count, bool binary) {
  constexpr int width = kWidth<float>;
  const auto of = [binary](Vector<float> x) { return binary ? exp2(x) : exp<float>(x); };
  int64_t i = 0;
  for (; i + width <= count; i += width) store(to + i, of(load(from + i)));
  const int rest = static_cast<int>(count - i);
  if (rest) store_some(to + i, of(load_some(from + i, rest)), rest);
}

}  // namespace efficarch
