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
