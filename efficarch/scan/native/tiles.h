// Some steps of one block of channels, brought to [steps][lanes] and back.
#pragma once

#include "lanes.h"
#include "scan.h"

namespace efficarch {

// Steps of a tile: a whole number of cache lines of every channel, few enough that what is kept of
// a tile and the rows of B and C under it stay in a first-level cache of 32 KiB.
constexpr int kTile = 64;

struct Place {
  int64_t row, channel;
  int lanes;  // channels of the block that exist; fewer than a vector has at the end of a group
  int64_t start;
  int steps;
};

template <class T>
T* address(const Sequences<T>& sequences, const Place& at) {
  return sequences.data + at.row * sequences.per_row + at.channel * sequences.per_channel +
         at.start * sequences.per_step;
}

// Asks for the cache lines of the next tile, a few with each step of this one. Rows of channels lie
// so far apart that processors do not see the next line coming by themselves.
template <class T>
class Ahead {
 public:
  Ahead(const Problem<T>& p, const Place& at)
      : u_(p.u, at), delta_(p.delta, at), z_(p.z, at), out_(p.out, at) {}

  // GCC takes a call that only prefetches for one that does nothing, unless it is inlined first.
  inline __attribute__((always_inline)) void fetch(int t) const {
    __builtin_prefetch(u_.line(t), 0);
    __builtin_prefetch(delta_.line(t), 0);
    if (z_.first) __builtin_prefetch(z_.line(t), 0);
    __builtin_prefetch(out_.line(t), 1);
  }

 private:
  // The lines of a tile, one for each of its steps; those of a row follow each other.
  struct Lines {
    static constexpr int kPerRow = kTile / kWidth<T>;
    const T* first;
    int64_t per_row, per_line;

    template <class Element>
    Lines(const Sequences<Element>& sequences, const Place& at)
        : first(sequences.data ? address(sequences, at) + kTile * sequences.per_step : nullptr),
          per_row(sequences.per_step == 1 ? sequences.per_channel : kPerRow * sequences.per_step),
          per_line(sequences.per_step == 1 ? kWidth<T> : sequences.per_step) {}

    const T* line(int t) const { return first + t / kPerRow * per_row + t % kPerRow * per_line; }
  };
  Lines u_, delta_, z_, out_;
};

template <class T>
void load_tile(const Sequences<const T>& from, const Place& at, Vector<T>* tile) {
  constexpr int width = kWidth<T>;
  const T* base = address(from, at);
  if (from.per_step != 1) {
    for (int t = 0; t < at.steps; ++t) {
      const T* row = base + t * from.per_step;
      tile[t] = at.lanes == width ? load(row) : load_some(row, at.lanes);
    }
    return;
  }
  for (int t = 0; t < at.steps; t += width) {
    const int steps = at.steps - t < width ? at.steps - t : width;
    for (int lane = 0; lane < width; ++lane) {
      // a channel that does not exist repeats the last that does; its results are dropped
      const T* row = base + (lane < at.lanes ? lane : at.lanes - 1) * from.per_channel + t;
      tile[t + lane] = steps == width ? load(row) : load_some(row, steps);
    }
    transpose<T>(tile + t);
  }
}

template <class T>
void store_tile(const Sequences<T>& to, const Place& at, Vector<T>* tile) {
  constexpr int width = kWidth<T>;
  T* base = address(to, at);
  if (to.per_step != 1) {
    for (int t = 0; t < at.steps; ++t) store_some(base + t * to.per_step, tile[t], at.lanes);
    return;
  }
  for (int t = 0; t < at.steps; t += width) {
    const int steps = at.steps - t < width ? at.steps - t : width;
    transpose<T>(tile + t);
    for (int lane = 0; lane < at.lanes; ++lane) {
      T* row = base + lane * to.per_channel + t;
      if (steps == width) {
        store(row, tile[t + lane]);
      } else {
        store_some(row, tile[t + lane], steps);
      }
    }
  }
}

}  // namespace efficarch
