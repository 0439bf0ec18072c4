// Where the values of a plan lie in its one block of memory.
#include <algorithm>

#include "infer/runtime/program_internal.h"

namespace fovea::infer::detail {

std::size_t place(std::vector<Interval> intervals, std::vector<std::size_t>& offsets) {
  // Cache lines, and 64 spare bytes so that a vector read past the last float stays inside.
  constexpr std::size_t kLine = 64;
  for (Interval& i : intervals) i.bytes = (i.bytes + kLine - 1) / kLine * kLine + kLine;
  std::stable_sort(intervals.begin(), intervals.end(),
                   [](const Interval& a, const Interval& b) { return a.bytes > b.bytes; });
  struct Placed {
    std::size_t begin, end;
    int first, last;
  };
  std::vector<Placed> placed;
  std::size_t total = 0;
  for (const Interval& i : intervals) {
    // `placed` is sorted by address: walk the gaps between those alive at the same time.
    std::size_t best = Program::kNowhere, best_gap = Program::kNowhere, cursor = 0;
    for (const Placed& p : placed) {
      if (p.last < i.first || p.first > i.last) continue;
      if (p.begin >= cursor + i.bytes && p.begin - cursor < best_gap) {
        best = cursor;
        best_gap = p.begin - cursor;
      }
      cursor = std::max(cursor, p.end);
    }
    if (best == Program::kNowhere) best = cursor;
    offsets[static_cast<std::size_t>(i.value)] = best;
    const Placed mine{best, best + i.bytes, i.first, i.last};
    placed.insert(std::upper_bound(placed.begin(), placed.end(), mine,
                                   [](const Placed& a, const Placed& b) { return a.begin < b.begin; }),
                  mine);
    total = std::max(total, mine.end);
  }
  return total;
}

}  // namespace fovea::infer::detail
