// Weights rounded for the least error of the results. On EfficientNet-Lite0 the rounding of weights makes as much noise
// as that of the values between the layers, on its fine-tuned descendants ten times as much; results depend on few
// directions of what a layer reads, and an error in the others costs nothing.
#include <algorithm>
#include <cmath>

#include "core/threads/parallel.h"
#include "infer/quantize/quantize_internal.h"
#include "layers/ops/dense.h"

namespace fovea::infer {
namespace {

/// Windows of x at rows spread evenly over all results: [rows, kh·kw·c], zeros outside the picture.
Tensor windows_of(const Node& node, const Tensor& x, const Shape& y, std::int64_t most) {
  if (node.kind == Kind::dense) return x.view_as({x.numel() / x.dim(-1), x.dim(-1)});
  const Shape& w = node.weight.shape();
  const std::int64_t kh = w[0], kw = w[1], c = x.dim(3), h = x.dim(1), width = x.dim(2);
  const std::int64_t all = y[0] * y[1] * y[2], count = std::min(all, most);
  const kernels::Padding pad =
      kernels::resolve_padding(node.conv.padding, h, width, kh, kw, node.conv.stride, node.conv.dilation);
  Tensor rows = Tensor::zeros({count, kh * kw * c});
  float* to = rows.mutable_data<float>();
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t at = i * all / count, n = at / (y[1] * y[2]), oy = at / y[2] % y[1], ox = at % y[2];
    for (std::int64_t ky = 0; ky < kh; ++ky) {
      for (std::int64_t kx = 0; kx < kw; ++kx, to += c) {
        const std::int64_t iy = oy * node.conv.stride.h + ky * node.conv.dilation.h - pad.top,
                           ix = ox * node.conv.stride.w + kx * node.conv.dilation.w - pad.left;
        if (iy < 0 || iy >= h || ix < 0 || ix >= width) continue;
        std::copy_n(x.data<float>() + ((n * h + iy) * width + ix) * c, c, to);
      }
    }
  }
  return rows;
}

/// Takes the mean out: a constant error is the bias' business.
void centre(Moments& m, const std::vector<double>& sums, std::int64_t channels) {
  const std::int64_t k = m.size;
  for (std::int64_t c = 0; c < channels; ++c) {
    double* const matrix = m.matrix.data() + c * k * k;
    const double* const sum = sums.data() + c * k;
    for (std::int64_t i = 0; i < k; ++i) {
      for (std::int64_t j = 0; j < k; ++j) matrix[i * k + j] -= sum[i] * sum[j] / static_cast<double>(m.rows);
    }
  }
}

void add_rows(const Tensor& rows, Moments& m, std::vector<double>& sums) {
  const std::int64_t k = m.size, count = rows.dim(0);
  const Tensor product = matmul(rows, rows, true);
  for (std::int64_t i = 0; i < k * k; ++i)
    m.matrix[static_cast<std::size_t>(i)] += static_cast<double>(product.data<float>()[i]);
  for (std::int64_t r = 0; r < count; ++r) {
    for (std::int64_t i = 0; i < k; ++i)
      sums[static_cast<std::size_t>(i)] += static_cast<double>(rows.data<float>()[r * k + i]);
  }
  m.rows += count;
}

/// The same for each channel; a window's values of one channel lie `channels` apart.
void add_depthwise(const Tensor& rows, std::int64_t channels, Moments& m, std::vector<double>& sums) {
  const std::int64_t k = m.size, count = rows.dim(0);
  parallel_for(channels, 8, [&](std::int64_t begin, std::int64_t end) {
    std::vector<double> window(static_cast<std::size_t>(k));
    for (std::int64_t c = begin; c < end; ++c) {
      double *const matrix = m.matrix.data() + c * k * k, *const sum = sums.data() + c * k;
      for (std::int64_t r = 0; r < count; ++r) {
        const float* const from = rows.data<float>() + r * k * channels + c;
        for (std::int64_t i = 0; i < k; ++i) {
          window[static_cast<std::size_t>(i)] = static_cast<double>(from[i * channels]);
          sum[i] += window[static_cast<std::size_t>(i)];
        }
        for (std::int64_t i = 0; i < k; ++i) {
          for (std::int64_t j = 0; j < k; ++j)
            matrix[i * k + j] += window[static_cast<std::size_t>(i)] * window[static_cast<std::size_t>(j)];
        }
      }
    }
  });
  m.rows += count;
}

double dot(const double* a, const double* b, std::int64_t n) {
  double sums[4] = {};
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (int lane = 0; lane < 4; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  for (; i < n; ++i) sums[0] += a[i] * b[i];
  return sums[0] + sums[1] + (sums[2] + sums[3]);
}

/// A, unit upper triangular, of H = A·D·Aᵀ with D diagonal, row-major k×k. Empty where the moments say nothing.
std::vector<double> unit_factor(const double* moments, std::int64_t k, std::int64_t grain) {
  double mean = 0;
  for (std::int64_t i = 0; i < k; ++i) mean += moments[i * k + i] / static_cast<double>(k);
  if (!(mean > 0)) return {};
  // Cholesky from the last row up: H = U·Uᵀ. The diagonal gets a hundredth of the mean variance, so that directions
  // which the pictures do not show are not used at will.
  std::vector<double> u(static_cast<std::size_t>(k * k), 0.0);
  for (std::int64_t c = k; c-- > 0;) {
    const double* const row = u.data() + c * k;
    const std::int64_t behind = k - c - 1;
    const double pivot = moments[c * k + c] + 0.01 * mean - dot(row + c + 1, row + c + 1, behind);
    if (!(pivot > 0)) return {};
    const double root = std::sqrt(pivot);
    parallel_for(c, grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        double* const other = u.data() + r * k;
        other[c] = (moments[r * k + c] - dot(other + c + 1, row + c + 1, behind)) / root;
      }
    });
    u[static_cast<std::size_t>(c * k + c)] = root;
  }
  for (std::int64_t c = 0; c < k; ++c) {
    const double root = u[static_cast<std::size_t>(c * k + c)];
    for (std::int64_t r = 0; r <= c; ++r) u[static_cast<std::size_t>(r * k + c)] /= root;
  }
  return u;
}

/// Rounds columns [begin, end) of w [k, columns] from the first row to the last; each row makes up for what the errors
/// of those before do to the results (Chee et al. 2023 show that this is what Frantar et al. compute).
void round_columns(const std::vector<double>& a, std::int64_t k, const float* w, std::int64_t columns,
                   std::int64_t begin, std::int64_t end, const float* scales, std::int8_t* q) {
  const auto width = static_cast<std::size_t>(end - begin);
  std::vector<double> errors(static_cast<std::size_t>(k) * width), sum(width);
  for (std::int64_t r = 0; r < k; ++r) {
    std::fill(sum.begin(), sum.end(), 0.0);
    for (std::int64_t before = 0; before < r; ++before) {
      const double factor = a[static_cast<std::size_t>(before * k + r)];
      const double* const e = errors.data() + static_cast<std::size_t>(before) * width;
      for (std::size_t c = 0; c < width; ++c) sum[c] += factor * e[c];
    }
    for (std::size_t c = 0; c < width; ++c) {
      const std::int64_t at = r * columns + begin + static_cast<std::int64_t>(c);
      const double scale = static_cast<double>(scales[begin + static_cast<std::int64_t>(c)]);
      const double value = static_cast<double>(w[at]);
      const double integer = std::clamp(std::nearbyint((value + sum[c]) / scale), -127.0, 127.0);
      q[at] = static_cast<std::int8_t>(integer);
      errors[static_cast<std::size_t>(r) * width + c] = value - integer * scale;
    }
  }
}

}  // namespace

std::vector<Moments> moments_of(const Graph& graph, std::span<const Tensor> pictures) {
  constexpr std::int64_t kRowsOfPicture = 128;
  const Simulation network(graph);
  const std::size_t n = graph.nodes.size();
  std::vector<Moments> all(n);
  std::vector<std::vector<double>> sums(n);
  for (const Tensor& x : pictures) {
    Simulation::Values values = network.start(x);
    for (std::size_t i = 0; i < n; ++i) {
      const Node& node = graph.nodes[i];
      network.step(i, values);
      const bool depthwise = can_be_integer(node) && is_depthwise(node);
      const std::int64_t channels = depthwise ? node.weight.dim(3) : 1;
      if (can_be_integer(node) && node.weight.numel() / node.weight.dim(-1) <= kMaxMoments) {
        const Shape y = values[static_cast<std::size_t>(graph.root(node.output))].shape();
        const Tensor rows = windows_of(node, network.operand(node.inputs[0], values), y, kRowsOfPicture * x.dim(0));
        Moments& m = all[i];
        if (m.size == 0) {
          m.size = rows.dim(1) / channels;
          m.matrix.assign(static_cast<std::size_t>(channels * m.size * m.size), 0.0);
          sums[i].assign(static_cast<std::size_t>(channels * m.size), 0.0);
        }
        if (depthwise) {
          add_depthwise(rows, channels, m, sums[i]);
        } else {
          add_rows(rows, m, sums[i]);
        }
      }
      network.release(i, values);
    }
  }
  for (std::size_t i = 0; i < n; ++i) {
    if (all[i].size > 0) centre(all[i], sums[i], is_depthwise(graph.nodes[i]) ? graph.nodes[i].weight.dim(3) : 1);
  }
  return all;
}

IntegerWeights round_by_results(const Node& node, const Moments& m, WeightScale how) {
  const Tensor& weight = node.weight;
  const std::int64_t columns = weight.dim(-1), k = m.size;
  if (k == 0) return quantize_weights(weight, how);
  const bool depthwise = is_depthwise(node);
  // How much each weight's error shows in the results by itself.
  std::vector<double> importance(static_cast<std::size_t>(depthwise ? weight.numel() : k));
  double mean = 0;
  for (std::size_t i = 0; i < importance.size(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    const std::int64_t matrix = depthwise ? at % columns : 0, tap = depthwise ? at / columns : at;
    importance[i] = m.matrix[static_cast<std::size_t>((matrix * k + tap) * k + tap)];
    mean += importance[i] / static_cast<double>(importance.size());
  }
  for (double& v : importance) v += 0.01 * mean;
  if (!(mean > 0)) return quantize_weights(weight, how);
  IntegerWeights out = quantize_weights(weight, how, importance);
  const float *const w = weight.data<float>(), *const scales = out.scale.data<float>();
  auto* const q = out.weight.mutable_data<std::int8_t>();
  if (depthwise) {
    parallel_for(columns, 16, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t c = begin; c < end; ++c) {
        const std::vector<double> a = unit_factor(m.matrix.data() + c * k * k, k, k);
        if (!a.empty()) round_columns(a, k, w, columns, c, c + 1, scales, q);
      }
    });
    return out;
  }
  const std::vector<double> a = unit_factor(m.matrix.data(), k, 64);
  if (a.empty()) return out;
  constexpr std::int64_t kBlock = 32;
  parallel_for((columns + kBlock - 1) / kBlock, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b)
      round_columns(a, k, w, columns, b * kBlock, std::min(columns, (b + 1) * kBlock), scales, q);
  });
  return out;
}

}  // namespace fovea::infer
