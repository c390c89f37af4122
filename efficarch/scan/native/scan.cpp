// The selective scan of Mamba (arXiv 2312.00752, section 3.2) and its multi-resolution form.
//
// One vector holds one step of as many channels as it has lanes; the states of a block of channels
// stay in registers while time advances over a tile. What costs: per step, channel and state one
// exponential and three multiply-adds; per step and channel the softplus, the gate and the
// transposition of four arrays. A deferred step of the multi-resolution form has one exponential in
// all: the decays of its states are powers of it. The commit of a run puts right what those powers
// made of the state that the run began with.
#include "scan.h"

#include "tiles.h"

#include <limits>
#include <vector>

namespace efficarch {
namespace {

// Largest argument of a commit's series; its cube is still a float.
constexpr double kLongestSeries = 1e12;

// What is kept of one tile.
template <class T>
struct Tile {
  using Steps = Vector<T>[kTile + kWidth<T>];
  alignas(64) Steps step;   // delta; at a commit summed over the run
  alignas(64) Steps input;  // delta * u
  alignas(64) Steps decay;  // of the first rung over the step
  alignas(64) Steps past;   // at a commit: of the first rung over the run
  alignas(64) Steps y;
};

// One run as it goes on from tile to tile.
template <class T>
struct Run {
  bool open = false;
  Vector<T> elapsed{};
  Vector<T> decay = splat<T>(1);  // of the first rung
};

template <class T>
struct Block {
  Place at;
  int64_t group;
  std::vector<Vector<T>> A, state;  // [N] each
  std::vector<Vector<T>> begun;     // [N], the state that the open run began with
  std::vector<Vector<T>> left_out;  // [N], of A by the ladder; to base e, where A and base are to base 2
  Vector<T> D{}, bias{}, base{};
  Vector<T> largest_step{};  // beyond it the exponents of a run might overflow
  Vector<T> longest_span{};  // beyond it the series of a commit might
};

// One of MULTIPLES of efficarch/scan/mrss/ladder.py.
constexpr int multiple(int rung) { return rung < 3 ? rung + 1 : 2 * multiple(rung - 2); }

template <class T>
Vector<T> absolute(Vector<T> x) { return x < 0 ? -x : x; }

// Fills in what the commits of a block's runs need.
template <class T>
void prepare_commits(const Problem<T>& p, Block<T>& block) {
  Vector<T> largest{};
  block.begun.resize(p.states);
  block.left_out.resize(p.states);
  for (int64_t n = 0; n < p.states; ++n) {
    const Vector<T> rate = block.base * static_cast<T>(p.rung ? multiple(p.rung[n]) : n + 1);
    const Vector<T> least = -absolute<T>(rate), all = block.A[n] - rate;
    block.left_out[n] = static_cast<T>(1 / kLog2E) * (all < least ? least : all);
    const Vector<T> size = absolute<T>(block.left_out[n]);
    largest = size > largest ? size : largest;
  }
  block.longest_span = splat<T>(kLongestSeries) / largest;
}

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
    const Vector<T> size = absolute<T>(A);
    largest = size > largest ? size : largest;
  }
  block.largest_step = splat<T>(std::numeric_limits<T>::max() / kLongestRun) / largest;
  if (p.D) block.D = load_some(p.D + block.at.channel, block.at.lanes);
  if (p.base) block.base = static_cast<T>(kLog2E) * load_some(p.base + block.at.channel, block.at.lanes);
  if (p.bias) block.bias = load_some(p.bias + block.at.channel, block.at.lanes);
  if (p.deferred) prepare_commits(p, block);
  return block;
}

// Fills step, input and the start of y.
template <class T>
void prepare(const Problem<T>& p, const Block<T>& block, Tile<T>& tile) {
  load_tile(p.delta, block.at, tile.step);
  load_tile(p.u, block.at, tile.input);
  for (int t = 0; t < block.at.steps; ++t) {
    const Vector<T> biased = tile.step[t] + block.bias;
    const Vector<T> delta = p.softplus ? softplus<T>(biased) : biased;
    const Vector<T> u = tile.input[t];
    tile.step[t] = delta > block.largest_step ? block.largest_step : delta;
    tile.input[t] = delta * u;
    tile.y[t] = block.D * u;
  }
}

// Fills in what the open run and those of this tile need of each step.
template <class T>
void prepare_runs(const Block<T>& block, const bool* deferred, Tile<T>& tile, Run<T>& run) {
  for (int t = 0; t < block.at.steps; ++t) {
    if (!deferred[t] && !run.open) continue;
    tile.decay[t] = exp2(block.base * tile.step[t]);
    run.decay *= tile.decay[t];
    run.elapsed += tile.step[t];
    run.open = true;
    if (deferred[t]) continue;
    tile.step[t] = run.elapsed > block.longest_span ? block.longest_span : run.elapsed;
    tile.past[t] = run.decay;
    run = Run<T>{};
  }
}

// What the loops over time need of one tile and some of the states.
template <class T>
struct Stretch {
  const Vector<T>* A;
  Vector<T>* state;
  Vector<T>* begun;
  const Vector<T>* left_out;
  const T* B;  // row of the tile's first step, at the first of the states
  const T* C;
  int64_t per_step;
  int steps;
  Ahead<T> ahead;
  int64_t first = 0;  // of the states
  const bool* deferred = nullptr;
  bool open = false;  // whether the step before the tile is deferred
  const int* rung = nullptr;
};

// The decays of a few states over a step, asked for in turn: each state's own, or, from the decay of
// the first rung, those of a ladder.
template <class T, Ladder kLadder>
struct Decays;

template <class T>
struct Decays<T, Ladder::kNone> {
  const Vector<T>* A;
  Vector<T> step;

  Vector<T> operator()(int n) const { return exp2(A[n] * step); }
};

template <class T>
struct Decays<T, Ladder::kEqual> {
  Vector<T> decay;

  Decays(const Stretch<T>&, Vector<T> rung) : decay(rung) {}
  Vector<T> operator()(int) const { return decay; }
};

// powers 1, 2, 3, ... in two chains, one ahead of the other
template <class T>
struct Decays<T, Ladder::kLinear> {
  Vector<T> next[2], square;

  Decays(const Stretch<T>& s, Vector<T> rung) : square(rung * rung) {
    next[0] = s.first ? rung * power<T>(rung, s.first) : rung;
    next[1] = next[0] * rung;
  }
  Vector<T> operator()(int n) {
    const Vector<T> decay = next[n % 2];
    next[n % 2] *= square;
    return decay;
  }
};

template <class T>
struct Decays<T, Ladder::kLookedUp> {
  Vector<T> decays[kRungs];
  const int* rung;

  Decays(const Stretch<T>& s, Vector<T> first) : rung(s.rung) {
    decays[0] = first;
    decays[1] = first * first;
    decays[2] = decays[1] * first;
    for (int k = 3; k < kRungs; ++k) decays[k] = decays[k - 2] * decays[k - 2];
  }
  Vector<T> operator()(int n) const { return decays[rung[n]]; }
};

// h <- decay * h + input * B, y += C h
template <class T, int States, class Each>
inline __attribute__((always_inline)) void update(
    const Stretch<T>& s, Tile<T>& tile, int t, Each decays, Vector<T>* h) {
  const Vector<T> input = tile.input[t];
  const T* B = s.B + t * s.per_step;
  const T* C = s.C + t * s.per_step;
  Vector<T> y[2] = {tile.y[t], Vector<T>{}};
#pragma GCC unroll 16
  for (int n = 0; n < States; ++n) {
    h[n] = decays(n) * h[n] + input * B[n];
    y[n % 2] += h[n] * C[n];
  }
  tile.y[t] = y[0] + y[1];
}

// The step that ends a run: as above, and the state that the run began with gets what the ladder left
// out of its decay, the cubic Taylor series of that factor.
template <class T, int States, Ladder kLadder>
inline __attribute__((always_inline)) void commit(
    const Stretch<T>& s, Tile<T>& tile, int t, Vector<T>* h) {
  const Vector<T> input = tile.input[t];
  const T* B = s.B + t * s.per_step;
  const T* C = s.C + t * s.per_step;
  const Vector<T> span = tile.step[t];
  Decays<T, kLadder> decays(s, tile.decay[t]), past(s, tile.past[t]);
  Vector<T> y[2] = {tile.y[t], Vector<T>{}};
#pragma GCC unroll 16
  for (int n = 0; n < States; ++n) {
    const Vector<T> x = s.left_out[n] * span;
    const Vector<T> more = x * past(n) * ((x * T(1.0 / 6) + T(0.5)) * x + T(1));
    h[n] = decays(n) * h[n] + (input * B[n] + more * s.begun[n]);
    y[n % 2] += h[n] * C[n];
  }
  tile.y[t] = y[0] + y[1];
}

template <class T, int States, Ladder kLadder>
void advance(const Stretch<T>& s, Tile<T>& tile) {
  Vector<T> h[States];
  for (int n = 0; n < States; ++n) h[n] = s.state[n];
  bool open = s.open;
  for (int t = 0; t < s.steps; ++t) {
    if (!s.first) s.ahead.fetch(t);
    if constexpr (kLadder == Ladder::kNone) {
      update<T, States>(s, tile, t, Decays<T, kLadder>{s.A, tile.step[t]}, h);
    } else if constexpr (kLadder == Ladder::kEqual) {
      update<T, States>(s, tile, t, Decays<T, kLadder>(s, tile.decay[t]), h);
    } else if (s.deferred[t]) {
      if (!open) {
        for (int n = 0; n < States; ++n) s.begun[n] = h[n];
        open = true;
      }
      update<T, States>(s, tile, t, Decays<T, kLadder>(s, tile.decay[t]), h);
    } else if (open) {
      open = false;
      commit<T, States, kLadder>(s, tile, t, h);
    } else {
      update<T, States>(s, tile, t, Decays<T, Ladder::kNone>{s.A, tile.step[t]}, h);
    }
  }
  for (int n = 0; n < States; ++n) s.state[n] = h[n];
}

// Advances all states over one tile, as many at a time as fit into registers.
template <class T, int States, Ladder kLadder>
void advance_states(Stretch<T> s, int64_t states, Tile<T>& tile) {
  for (; states >= States; states -= States) {
    advance<T, States, kLadder>(s, tile);
    s.A += States;
    s.state += States;
    s.B += States;
    s.C += States;
    s.first += States;
    s.begun += States;
    s.left_out += States;
    if (s.rung) s.rung += States;
  }
  if constexpr (States > 1) {
    if (states) advance_states<T, States / 2, kLadder>(s, states, tile);
  }
}

template <class T>
void finish(const Problem<T>& p, const Block<T>& block, Tile<T>& tile) {
  if (p.z.data) {
    Vector<T>* const z = tile.step;  // the steps are no longer needed
    load_tile(p.z, block.at, z);
    for (int t = 0; t < block.at.steps; ++t) tile.y[t] *= silu<T>(z[t]);
  }
  store_tile(p.out, block.at, tile.y);
}

}  // namespace

template <class T>
int64_t blocks(const Problem<T>& p) {
  return p.batch * p.groups * ((p.channels / p.groups + kWidth<T> - 1) / kWidth<T>);
}

template <class T, Ladder kLadder>
void scan_steps(const Problem<T>& p, Block<T>& block) {
  Place& at = block.at;
  Tile<T> tile;
  Run<T> run;
  const int64_t first = (at.row * p.groups + block.group) * p.length;
  for (at.start = 0; at.start < p.length; at.start += at.steps) {
    at.steps = static_cast<int>(p.length - at.start < kTile ? p.length - at.start : kTile);
    prepare(p, block, tile);
    const int64_t row = (first + at.start) * p.states;
    Stretch<T> stretch = {block.A.data(), block.state.data(), block.begun.data(),
                          block.left_out.data(), p.B + row, p.C + row, p.states, at.steps, Ahead<T>(p, at)};
    if constexpr (kLadder == Ladder::kEqual) {
      for (int t = 0; t < at.steps; ++t) tile.decay[t] = exp2(block.base * tile.step[t]);
    } else if constexpr (kLadder != Ladder::kNone) {
      stretch.deferred = p.deferred + at.row * p.length + at.start;
      stretch.open = run.open;
      stretch.rung = p.rung;
      prepare_runs(block, stretch.deferred, tile, run);
    }
    advance_states<T, 16, kLadder>(stretch, p.states, tile);
    finish(p, block, tile);
  }
}

template <class T>
void scan_block(const Problem<T>& p, int64_t index) {
  Block<T> block = make_block(p, index);
  switch (p.ladder) {
    case Ladder::kNone: scan_steps<T, Ladder::kNone>(p, block); break;
    case Ladder::kEqual: scan_steps<T, Ladder::kEqual>(p, block); break;
    case Ladder::kLinear: scan_steps<T, Ladder::kLinear>(p, block); break;
    case Ladder::kLookedUp: scan_steps<T, Ladder::kLookedUp>(p, block); break;
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
