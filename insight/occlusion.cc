// Occlusion: how much of the class's probability goes when a square of the picture is taken away.
#include <algorithm>

#include "insight/methods_internal.h"

namespace fovea::insight {

void occlusion(const Question& q, Explanation& out) {
  const std::int64_t height = q.height(), width = q.width(), channels = q.channels();
  const std::int64_t shorter = std::min(height, width);
  const std::int64_t window =
      q.options.occlusion.window > 0 ? q.options.occlusion.window : std::max<std::int64_t>(1, shorter / 7);
  const std::int64_t stride =
      q.options.occlusion.stride > 0 ? q.options.occlusion.stride : std::max<std::int64_t>(1, window / 2);
  // Squares reach over the edges so that every pixel is covered equally often: the first is centred on the edge's half
  // window, the last is the first to cover the end.
  const std::int64_t first = stride - window;
  const auto count = [&](std::int64_t side) { return (side - 1 - first) / stride + 1; };
  const std::int64_t rows = count(height), columns = count(width);
  const Tensor empty = filled(q.x, q.network.model().preprocessing, q.options.occlusion.fill);
  const float* x = q.x.data<float>();
  const float* fill = empty.data<float>();
  const auto square = [&](std::int64_t i, std::int64_t side) {
    const std::int64_t begin = first + i * stride;
    return std::pair(std::max<std::int64_t>(0, begin), std::min(side, begin + window));
  };
  const std::vector<double> scores = target_probabilities(
      q, rows * columns,
      [&](std::int64_t i, float* pixels) {
        std::copy(x, x + q.x.numel(), pixels);
        const auto [top, bottom] = square(i / columns, height);
        const auto [left, right] = square(i % columns, width);
        for (std::int64_t y = top; y < bottom; ++y) {
          const std::int64_t begin = (y * width + left) * channels, end = (y * width + right) * channels;
          std::copy(fill + begin, fill + end, pixels + begin);
        }
      },
      0, rows * columns);
  out.raw = Tensor({rows, columns});
  float* raw = out.raw.mutable_data<float>();
  std::vector<double> sum(static_cast<std::size_t>(height * width), 0.0), times(sum.size(), 0.0);
  for (std::int64_t i = 0; i < rows * columns; ++i) {
    const double lost = q.probability - scores[static_cast<std::size_t>(i)];
    raw[i] = static_cast<float>(lost);
    const auto [top, bottom] = square(i / columns, height);
    const auto [left, right] = square(i % columns, width);
    for (std::int64_t y = top; y < bottom; ++y) {
      for (std::int64_t p = y * width + left; p < y * width + right; ++p) {
        sum[static_cast<std::size_t>(p)] += lost;
        times[static_cast<std::size_t>(p)] += 1;
      }
    }
  }
  out.map = Tensor({height, width});
  float* map = out.map.mutable_data<float>();
  for (std::size_t p = 0; p < sum.size(); ++p) map[p] = times[p] > 0 ? static_cast<float>(sum[p] / times[p]) : 0.0f;
  out.is_signed = true;
}

}  // namespace fovea::insight
