// Pictures of a batch one after the other through several steps, each thread its own.
#include <algorithm>

#include "core/threads/share.h"
#include "infer/runtime/steps_internal.h"

namespace fovea::infer::detail {
namespace {

constexpr std::size_t kLine = 64;

/// The table of values' places, in front of the arena.
std::size_t table_bytes(const Program& each) {
  return (each.offsets.size() * sizeof(float*) + kLine - 1) / kLine * kLine;
}

class PictureStep final : public Step {
 public:
  PictureStep(std::shared_ptr<const Program> each, std::int64_t pictures, int lanes, std::size_t x, std::size_t y,
              int memory, Places places)
      : each_(std::move(each)), pictures_(pictures), lanes_(lanes), x_(x), y_(y), memory_(memory), places_(places) {
    info.kernel = "picture by picture";
  }

  void run(Pointers at) const override {
    auto* const memory = static_cast<char*>(place(at, memory_));
    // No more chunks than lanes, whatever the number of threads is by now.
    const std::int64_t grain = (pictures_ + lanes_ - 1) / lanes_;
    parallel_shares({.count = pictures_, .grain = grain}, [&](Share& share) {
      char* const lane = memory + static_cast<std::size_t>(share.thread()) * picture_lane_bytes(*each_);
      auto** const values = reinterpret_cast<float**>(lane);
      auto* const arena = reinterpret_cast<float*>(lane + table_bytes(*each_));
      for (std::size_t v = 0; v < each_->offsets.size(); ++v)
        values[v] = each_->offsets[v] == Program::kNowhere ? nullptr : arena + each_->offsets[v] / sizeof(float);
      while (share.take(1)) {
        const auto picture = static_cast<std::size_t>(share.begin());
        values[each_->input] = reinterpret_cast<float*>(static_cast<char*>(place(at, places_.in)) + picture * x_);
        values[each_->output] = reinterpret_cast<float*>(static_cast<char*>(place(at, places_.out)) + picture * y_);
        for (const auto& step : each_->steps) step->run(values);
      }
    });
  }
  std::shared_ptr<const Program> each() const override { return each_; }
  std::int64_t pictures() const override { return pictures_; }

 private:
  std::shared_ptr<const Program> each_;
  std::int64_t pictures_;
  int lanes_;
  std::size_t x_, y_;
  int memory_;
  Places places_;
};

}  // namespace

std::size_t picture_lane_bytes(const Program& each) { return table_bytes(each) + each.arena_bytes + kLine; }

std::unique_ptr<Step> picture_step(std::shared_ptr<const Program> each, std::int64_t pictures, int lanes, std::size_t x,
                                   std::size_t y, int memory, Places places) {
  return std::make_unique<PictureStep>(std::move(each), pictures, lanes, x, y, memory, places);
}

}  // namespace fovea::infer::detail
