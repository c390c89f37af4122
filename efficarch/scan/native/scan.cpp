// The selective scan of Mamba (arXiv 2312.00752, section 3.2) and its multi-resolution form.
//
// One vector holds one step of as many channels as it has lanes; the states of a block of channels
// stay in registers while time advances over a tile. What costs: per step, channel and state one
// exponential and three multiply-adds; per step and channel the softplus, the gate and the
// transposition of four arrays. A deferred step of the multi-resolution form has one exponential in
// all: the decays of its states are powers of it. One multiply-add per state reads the state; one
// more folds its input into the run's commit, and none where the run's B are alike.
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
  alignas(64) Steps input;  // delta * u
  // decay of the first rung: of a deferred token from the last commit to it, and once its run is
  // committed from it to the commit
  alignas(64) Steps decay;
  alignas(64) Steps since;
  alignas(64) Vector<T> y[kSteps];
};

// One run as it goes on from tile to tile.
template <class T>
struct Run {
  int pending = 0;
  Vector<T> elapsed{};
  Vector<T> decay = splat<T>(1);  // of the first rung, since the last commit
  Vector<T> since[kMostPending];  // the same since each pending token
};

template <class T>
struct Block {
  Place at;
  int64_t group;
  std::vector<Vector<T>> A, state;  // [N] each
  Vector<T> D{}, bias{}, base{};
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
    const Vector<T> size = A < 0 ? -A : A;
    largest = size > largest ? size : largest;
  }
  block.largest_step = splat<T>(std::numeric_limits<T>::max() / (kMostPending + 1)) / largest;
  if (p.D) block.D = load_some(p.D + block.at.channel, block.at.lanes);
  if (p.base) block.base = static_cast<T>(kLog2E) * load_some(p.base + block.at.channel, block.at.lanes);
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

// The decays of the rungs from that of the first.
template <class T, int Rungs>
inline __attribute__((always_inline)) void climb(Vector<T> first, Vector<T>* decays) {
  decays[0] = first;
  if constexpr (Rungs > 1) {
    decays[1] = first * first;
    decays[2] = decays[1] * first;
#pragma GCC unroll 16
    for (int k = 3; k < Rungs; ++k) decays[k] = decays[k - 2] * decays[k - 2];
  }
}

// Lets the steps of a run pass until its commit.
template <class T>
void end_run(const Block<T>& block, Tile<T>& tile, Run<T>& run, int t) {
  if (!run.pending) return;
  const int e = kMostPending + t;
  const Vector<T> decay = exp2(block.base * tile.step[e]);
  for (int j = 0; j < run.pending; ++j) tile.since[e - run.pending + j] = run.since[j] * decay;
  tile.step[e] += run.elapsed;
  run = Run<T>{};
}

// Adds what a deferred token reads of the run's own inputs to its y.
template <class T, int Rungs>
void defer_input(const Block<T>& block, const T* products, Tile<T>& tile, Run<T>& run, int t) {
  const int i = kMostPending + t;
  const Vector<T> decay = exp2(block.base * tile.step[i]);
  run.decay *= decay;
  run.elapsed += tile.step[i];
  tile.decay[i] = run.decay;
  Vector<T> y = tile.y[t] + tile.input[i] * products[0];
  for (int j = 0; j < run.pending; ++j) {
    run.since[j] *= decay;
    Vector<T> decays[Rungs];
    climb<T, Rungs>(run.since[j], decays);
    const T* parts = products + 1 + (run.pending - 1 - j) * Rungs;
    Vector<T> sum = decays[0] * parts[0];
#pragma GCC unroll 16
    for (int k = 1; k < Rungs; ++k) sum += decays[k] * parts[k];
    y += sum * tile.input[i - run.pending + j];
  }
  run.since[run.pending++] = splat<T>(1);
  tile.y[t] = y;
}

// Goes through the steps of a tile and prepares what its runs need.
template <class T, int Rungs>
void prepare_runs(const Block<T>& block, const bool* deferred, const T* products, Tile<T>& tile,
                  Run<T>& run) {
  for (int t = 0; t < block.at.steps; ++t) {
    if (deferred[t]) {
      defer_input<T, Rungs>(block, products + t * products_per_step(Rungs), tile, run, t);
    } else {
      end_run(block, tile, run, t);
    }
  }
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
  const int* rung;  // at the first of the states
  const T* shared;  // as B
  const bool* steady;
};

// A step that updates the state, with B its row: h <- decay * h + input * B, y += C h.
template <class T, int States>
inline __attribute__((always_inline)) void update(
    const Stretch<T>& s, Tile<T>& tile, int t, Vector<T>* h) {
  const Vector<T> input = tile.input[kMostPending + t];
  const Vector<T> step = tile.step[kMostPending + t];
  const T* B = s.B + t * s.per_step;
  const T* C = s.C + t * s.per_step;
  Vector<T> y[2] = {tile.y[t], Vector<T>{}};
#pragma GCC unroll 16
  for (int n = 0; n < States; ++n) {
    h[n] = exp2(s.A[n] * step) * h[n] + input * B[n];
    y[n % 2] += h[n] * C[n];
  }
  tile.y[t] = y[0] + y[1];
}

// The commit of a run whose B are alike: its inputs are summed on each rung, then as above.
template <class T, int States, int Rungs>
inline __attribute__((always_inline)) void commit_steady(
    const Stretch<T>& s, Tile<T>& tile, int t, int pending, Vector<T>* h) {
  const int e = kMostPending + t;
  Vector<T> inputs[Rungs];
#pragma GCC unroll 16
  for (int k = 0; k < Rungs; ++k) inputs[k] = tile.input[e];
  for (int i = e - pending; i < e; ++i) {
    Vector<T> decays[Rungs];
    climb<T, Rungs>(tile.since[i], decays);
#pragma GCC unroll 16
    for (int k = 0; k < Rungs; ++k) inputs[k] += decays[k] * tile.input[i];
  }
  const Vector<T> step = tile.step[e];
  const T* B = s.shared + t * s.per_step;
  const T* C = s.C + t * s.per_step;
  Vector<T> y[2] = {tile.y[t], Vector<T>{}};
#pragma GCC unroll 16
  for (int n = 0; n < States; ++n) {
    h[n] = exp2(s.A[n] * step) * h[n] + inputs[s.rung[n]] * B[n];
    y[n % 2] += h[n] * C[n];
  }
  tile.y[t] = y[0] + y[1];
}

// The commit of any other run: each of its inputs has its own B.
template <class T, int States, int Rungs>
inline __attribute__((always_inline)) void commit(
    const Stretch<T>& s, Tile<T>& tile, int t, int pending, Vector<T>* h) {
  const int e = kMostPending + t;
  const Vector<T> step = tile.step[e];
  const T* C = s.C + t * s.per_step;
#pragma GCC unroll 16
  for (int n = 0; n < States; ++n) h[n] *= exp2(s.A[n] * step);
  for (int back = pending; back >= 0; --back) {
    Vector<T> inputs[Rungs];
    climb<T, Rungs>(back ? tile.since[e - back] : splat<T>(1), inputs);
#pragma GCC unroll 16
    for (int k = 0; k < Rungs; ++k) inputs[k] *= tile.input[e - back];
    const T* B = s.B + (t - back) * s.per_step;
#pragma GCC unroll 16
    for (int n = 0; n < States; ++n) h[n] += inputs[s.rung[n]] * B[n];
  }
  Vector<T> y[2] = {tile.y[t], Vector<T>{}};
#pragma GCC unroll 16
  for (int n = 0; n < States; ++n) y[n % 2] += h[n] * C[n];
  tile.y[t] = y[0] + y[1];
}

// A deferred step: y += C (decay * h), summed over the states of a rung before it is decayed.
template <class T, int States, int Rungs>
inline __attribute__((always_inline)) void read(
    const Stretch<T>& s, Tile<T>& tile, int t, const Vector<T>* h) {
  Vector<T> decays[Rungs];
  climb<T, Rungs>(tile.decay[kMostPending + t], decays);
  const T* C = s.C + t * s.per_step;
  Vector<T> y = tile.y[t], sum{};
#pragma GCC unroll 16
  for (int n = 0; n < States; ++n) {
    sum += h[n] * C[n];
    if (n == States - 1 || s.rung[n] != s.rung[n + 1]) {
      y += decays[s.rung[n]] * sum;
      sum = Vector<T>{};
    }
  }
  tile.y[t] = y;
}

template <class T, int States>
void advance(const Stretch<T>& s, Tile<T>& tile) {
  Vector<T> h[States];
  for (int n = 0; n < States; ++n) h[n] = s.state[n];
  for (int t = 0; t < s.steps; ++t) update<T, States>(s, tile, t, h);
  for (int n = 0; n < States; ++n) s.state[n] = h[n];
}

template <class T, int States, int Rungs>
void advance_runs(const Stretch<T>& s, Tile<T>& tile) {
  Vector<T> h[States];
  for (int n = 0; n < States; ++n) h[n] = s.state[n];
  int pending = s.pending;
  for (int t = 0; t < s.steps; ++t) {
    if (s.deferred[t]) {
      read<T, States, Rungs>(s, tile, t, h);
      ++pending;
      continue;
    }
    if (!pending) {
      update<T, States>(s, tile, t, h);
    } else if (s.steady[t]) {
      commit_steady<T, States, Rungs>(s, tile, t, pending, h);
    } else {
      commit<T, States, Rungs>(s, tile, t, pending, h);
    }
    pending = 0;
  }
  for (int n = 0; n < States; ++n) s.state[n] = h[n];
}

// Advances all states over one tile, as many at a time as fit into registers; without rungs every
// step updates the state.
template <class T, int States, int Rungs>
void advance_states(Stretch<T> s, int64_t states, Tile<T>& tile) {
  for (; states >= States; states -= States) {
    if constexpr (Rungs > 0) {
      advance_runs<T, States, Rungs>(s, tile);
      s.rung += States;
      s.shared += States;
    } else {
      advance<T, States>(s, tile);
    }
    s.A += States;
    s.state += States;
    s.B += States;
    s.C += States;
  }
  if constexpr (States > 1) {
    if (states) advance_states<T, States / 2, Rungs>(s, states, tile);
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
  }
}

}  // namespace

template <class T>
int64_t blocks(const Problem<T>& p) {
  return p.batch * p.groups * ((p.channels / p.groups + kWidth<T> - 1) / kWidth<T>);
}

template <class T, int Rungs>
void scan_steps(const Problem<T>& p, Block<T>& block) {
  Place& at = block.at;
  Tile<T> tile;
  Run<T> run;
  const int64_t first = (at.row * p.groups + block.group) * p.length;
  for (at.start = 0; at.start < p.length; at.start += at.steps) {
    at.steps = static_cast<int>(p.length - at.start < kTile ? p.length - at.start : kTile);
    prepare(p, block, tile);
    const int64_t step = first + at.start;
    const int64_t row = step * p.states;
    Stretch<T> stretch = {block.A.data(), block.state.data(), p.B + row, p.C + row, p.states, at.steps};
    if constexpr (Rungs > 0) {
      stretch.deferred = p.deferred + at.row * p.length + at.start;
      stretch.pending = run.pending;
      stretch.rung = p.rung;
      stretch.shared = p.shared + row;
      stretch.steady = p.steady + step;
      const T* products = p.products + step * products_per_step(Rungs);
      prepare_runs<T, Rungs>(block, stretch.deferred, products, tile, run);
    }
    advance_states<T, 16, Rungs>(stretch, p.states, tile);
    finish(p, block, tile);
    if constexpr (Rungs > 0) keep_pending(tile, at.steps);
  }
}

template <class T>
void scan_block(const Problem<T>& p, int64_t index) {
  Block<T> block = make_block(p, index);
  if (!p.deferred) {
    scan_steps<T, 0>(p, block);
  } else if (p.rungs == 1) {
    scan_steps<T, 1>(p, block);
  } else if (p.rungs == 8) {
    scan_steps<T, 8>(p, block);
  } else {
    scan_steps<T, kRungs>(p, block);
  }
  const Place& at = block.at;
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
