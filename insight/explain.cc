#include "insight/explain.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "core/autograd/modes.h"
#include "core/error.h"
#include "insight/methods_internal.h"
#include "layers/ops/reduce.h"

namespace fovea::insight {
namespace {

constexpr std::string_view kMethods[] = {"gradcam",    "gradcam++", "scorecam", "eigencam", "integrated-gradients",
                                         "smoothgrad", "occlusion", "lime"};
constexpr std::string_view kFills[] = {"black", "grey", "mean", "blur"};

template <class Enum, std::size_t N>
Enum from_name(std::string_view name, const std::string_view (&names)[N], const char* what) {
  const auto found = std::find(std::begin(names), std::end(names), name);
  if (found != std::end(names)) return static_cast<Enum>(found - std::begin(names));
  std::string list;
  for (const std::string_view n : names) list += str(list.empty() ? "" : ", ", n);
  throw Error(ErrorKind::usage, what, str("'", name, "' is unknown"), str("one of: ", list));
}

void check(bool good, const char* what) {
  if (!good) throw Error(ErrorKind::usage, "explain", what);
}

void check(const ExplainOptions& o, int classes) {
  check(o.batch_size >= 1 && o.batch_size <= 1024, "batch_size must lie in 1 to 1024");
  if (o.target && (*o.target < 0 || *o.target >= classes)) {
    throw Error(ErrorKind::usage, "explain", str("there is no class ", *o.target, "; there are ", classes));
  }
  check(o.integrated_gradients.steps >= 1 && o.integrated_gradients.steps <= 10'000, "steps must lie in 1 to 10000");
  check(o.smooth_grad.samples >= 1 && o.smooth_grad.samples <= 10'000, "samples must lie in 1 to 10000");
  check(o.smooth_grad.noise > 0 && std::isfinite(o.smooth_grad.noise), "noise must be above 0");
  check(o.occlusion.window >= 0 && o.occlusion.stride >= 0, "window and stride must be at least 0");
  check(o.occlusion.window == 0 || o.occlusion.stride <= o.occlusion.window, "a stride above the window leaves gaps");
  const LimeOptions& l = o.lime;
  check(l.segments >= 2 && l.segments <= 1000, "segments must lie in 2 to 1000");
  check(l.samples >= 2 && l.samples <= 1'000'000, "samples must lie in 2 to 1000000");
  check(l.seeds >= 1 && l.seeds <= 100, "seeds must lie in 1 to 100");
  check(l.top >= 1, "top must be at least 1");
  check(l.keep > 0 && l.keep < 1, "keep must lie between 0 and 1");
  check(l.compactness > 0 && l.kernel_width > 0 && l.ridge > 0, "compactness, kernel_width and ridge must be above 0");
}

/// Channel c of the network's input where a pixel's channel is `value` (0…255).
float normalised(const image::Preprocessing& p, std::size_t c, double value) {
  return static_cast<float>((value * p.scale - static_cast<double>(p.mean[c])) / static_cast<double>(p.std[c]));
}

Tensor one_picture(const Tensor& x, const image::Preprocessing& p) {
  const bool three = x.defined() && x.rank() == 3;
  if (!x.defined() || x.dtype() != DType::f32 || !(three || (x.rank() == 4 && x.dim(0) == 1)) ||
      x.dim(-1) != p.channels || x.numel() == 0) {
    throw Error(ErrorKind::shape, "explain",
                str("expected one picture f32 ", Shape{1, p.height, p.width, p.channels}, ", got ",
                    x.defined() ? x.to_string() : std::string("nothing")));
  }
  return three ? x.view_as(Shape{1, x.dim(0), x.dim(1), x.dim(2)}) : x;
}

}  // namespace

std::string_view to_string(Method method) { return kMethods[static_cast<std::size_t>(method)]; }
Method method_from_string(std::string_view name) { return from_name<Method>(name, kMethods, "method"); }
const std::vector<Method>& all_methods() {
  static const std::vector<Method> all = [] {
    std::vector<Method> methods;
    for (std::size_t i = 0; i < std::size(kMethods); ++i) methods.push_back(static_cast<Method>(i));
    return methods;
  }();
  return all;
}
std::string_view to_string(Fill fill) { return kFills[static_cast<std::size_t>(fill)]; }
Fill fill_from_string(std::string_view name) { return from_name<Fill>(name, kFills, "fill"); }

// ------------------------------------------------------------------------------------------------------------- helpers

image::Image picture_of(const Tensor& x, const image::Preprocessing& p) {
  const Tensor one = one_picture(x, p);
  image::Image out(static_cast<int>(one.dim(2)), static_cast<int>(one.dim(1)), p.channels);
  const float* from = one.data<float>();
  const auto channels = static_cast<std::size_t>(p.channels);
  for (std::size_t i = 0; i < out.pixels.size(); ++i) {
    const std::size_t c = i % channels;
    const double v =
        (static_cast<double>(from[i]) * static_cast<double>(p.std[c]) + static_cast<double>(p.mean[c])) / p.scale;
    const std::size_t to = p.order == image::ChannelOrder::bgr && channels == 3 ? i - c + (2 - c) : i;
    out.pixels[to] = static_cast<std::uint8_t>(std::lround(std::clamp(v, 0.0, 255.0)));
  }
  return out;
}

Tensor filled(const Tensor& x, const image::Preprocessing& p, Fill fill) {
  const Tensor one = one_picture(x, p);
  const std::int64_t height = one.dim(1), width = one.dim(2), channels = one.dim(3);
  const float* from = one.data<float>();
  if (fill == Fill::blur) return gaussian(one, static_cast<double>(std::min(height, width)) / 20);
  std::array<float, 3> value{};
  for (std::int64_t c = 0; c < channels; ++c) {
    const auto k = static_cast<std::size_t>(c);
    if (fill == Fill::black) value[k] = normalised(p, k, 0);
    if (fill == Fill::grey) value[k] = p.mean[k] == 0 ? normalised(p, k, 127.5) : 0;
    if (fill == Fill::mean) {
      double sum = 0;
      for (std::int64_t i = c; i < one.numel(); i += channels) sum += static_cast<double>(from[i]);
      value[k] = static_cast<float>(sum / static_cast<double>(height * width));
    }
  }
  Tensor out(one.shape());
  float* to = out.mutable_data<float>();
  for (std::int64_t i = 0; i < out.numel(); ++i) to[i] = value[static_cast<std::size_t>(i % channels)];
  return out;
}

Tensor gaussian(const Tensor& x, double sigma) {
  const std::int64_t height = x.dim(1), width = x.dim(2), channels = x.dim(3);
  const auto radius = static_cast<std::int64_t>(std::ceil(3 * sigma));
  std::vector<double> kernel;
  double sum = 0;
  for (std::int64_t i = -radius; i <= radius; ++i) {
    kernel.push_back(std::exp(-0.5 * static_cast<double>(i * i) / (sigma * sigma)));
    sum += kernel.back();
  }
  for (double& k : kernel) k /= sum;
  const auto pass = [&](const Tensor& in, bool along_x) {
    Tensor out(in.shape());
    const float* from = in.data<float>();
    float* to = out.mutable_data<float>();
    for (std::int64_t y = 0; y < height; ++y) {
      for (std::int64_t col = 0; col < width; ++col) {
        for (std::int64_t c = 0; c < channels; ++c) {
          double value = 0;
          for (std::int64_t i = -radius; i <= radius; ++i) {
            const std::int64_t sx = along_x ? std::clamp<std::int64_t>(col + i, 0, width - 1) : col;
            const std::int64_t sy = along_x ? y : std::clamp<std::int64_t>(y + i, 0, height - 1);
            value += kernel[static_cast<std::size_t>(i + radius)] *
                     static_cast<double>(from[(sy * width + sx) * channels + c]);
          }
          to[(y * width + col) * channels + c] = static_cast<float>(value);
        }
      }
    }
    return out;
  };
  return pass(pass(x, true), false);
}

Tensor enlarge(const Tensor& map, int height, int width) {
  if (!map.defined() || map.rank() != 2 || map.numel() == 0 || height < 1 || width < 1) {
    throw Error(ErrorKind::shape, "enlarge",
                str("expected a map [h, w] and a size of at least 1×1, got ",
                    map.defined() ? map.shape().to_string() : std::string("nothing"), " and ", height, "×", width));
  }
  const std::int64_t h = map.dim(0), w = map.dim(1);
  const float* from = map.data<float>();
  struct Tap {
    std::int64_t low, high;
    double weight;  // of high
  };
  const auto taps = [](std::int64_t in, int out) {
    std::vector<Tap> list;
    for (int i = 0; i < out; ++i) {
      const double at = std::clamp((i + 0.5) * static_cast<double>(in) / out - 0.5, 0.0, static_cast<double>(in - 1));
      const auto low = static_cast<std::int64_t>(at);
      list.push_back({low, std::min(low + 1, in - 1), at - static_cast<double>(low)});
    }
    return list;
  };
  const std::vector<Tap> ys = taps(h, height), xs = taps(w, width);
  Tensor out(Shape{height, width});
  float* to = out.mutable_data<float>();
  for (const Tap& y : ys) {
    for (const Tap& x : xs) {
      const auto v = [&](std::int64_t r, std::int64_t c) { return static_cast<double>(from[r * w + c]); };
      const double top = v(y.low, x.low) + x.weight * (v(y.low, x.high) - v(y.low, x.low));
      const double bottom = v(y.high, x.low) + x.weight * (v(y.high, x.high) - v(y.high, x.low));
      *to++ = static_cast<float>(top + y.weight * (bottom - top));
    }
  }
  return out;
}

void Question::progress(std::int64_t done, std::int64_t total) const {
  if (options.cancel && options.cancel->requested())
    throw Error(ErrorKind::cancelled, "explain", "stopped before it was done");
  if (options.on_progress) options.on_progress(done, total);
}

std::vector<double> target_probabilities(const Question& q, std::int64_t count,
                                         const std::function<void(std::int64_t, float*)>& make, std::int64_t done,
                                         std::int64_t total) {
  std::vector<double> out;
  const std::int64_t size = q.x.numel();
  for (std::int64_t begin = 0; begin < count; begin += q.options.batch_size) {
    q.progress(done + begin, total);
    const std::int64_t n = std::min<std::int64_t>(q.options.batch_size, count - begin);
    Tensor batch({n, q.height(), q.width(), q.channels()});
    float* pixels = batch.mutable_data<float>();
    for (std::int64_t i = 0; i < n; ++i) make(begin + i, pixels + i * size);
    const Tensor p = softmax(q.network.logits(batch));
    for (std::int64_t i = 0; i < n; ++i) out.push_back(static_cast<double>(p.data<float>()[i * p.dim(1) + q.target]));
  }
  q.progress(done + count, total);
  return out;
}

// ----------------------------------------------------------------------------------------------------------- Explainer

struct Explainer::Impl {
  explicit Impl(const Model& model) : network(model) {}
  Network network;
};

Explainer::Explainer(const Model& model) : impl_(std::make_unique<Impl>(model)) {}
Explainer::~Explainer() = default;
Explainer::Explainer(Explainer&&) noexcept = default;
Explainer& Explainer::operator=(Explainer&&) noexcept = default;

const Model& Explainer::model() const { return impl_->network.model(); }
std::vector<std::string> Explainer::layers() const { return impl_->network.layers(); }
std::string Explainer::default_layer() const { return impl_->network.default_layer(); }

Tensor Explainer::probabilities(const Tensor& x) {
  const NoGrad no_grad;
  return softmax(impl_->network.logits(x));
}

Explanation Explainer::operator()(const Tensor& x, const ExplainOptions& options) {
  Network& network = impl_->network;
  check(options, network.classes());
  const Tensor one = one_picture(x, network.model().preprocessing);
  Explanation out;
  out.method = options.method;
  // A CAM needs the layer's result anyway, and the answer comes from it.
  const Cut* cut = options.method <= Method::eigen_cam ? &network.cut(options.layer) : nullptr;
  const std::vector<Tensor> activations = cut ? cut->run_lower(one) : std::vector<Tensor>();
  const Tensor logits = cut ? cut->run_upper(activations) : network.logits(one);
  const auto values = logits.values<float>();
  if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }))
    throw Error(ErrorKind::numeric, "explain", "the network answers with NaN or Inf for this picture");
  out.predicted = static_cast<int>(std::max_element(values.begin(), values.end()) - values.begin());
  out.target = options.target.value_or(out.predicted);
  out.logit = static_cast<double>(values[static_cast<std::size_t>(out.target)]);
  {
    const NoGrad no_grad;
    out.probability = static_cast<double>(softmax(logits).data<float>()[out.target]);
  }
  const Question q{network, one, options, out.target, out.probability, cut, activations};
  switch (options.method) {
    case Method::gradcam:
    case Method::gradcam_pp:
    case Method::score_cam:
    case Method::eigen_cam: cam(q, out); break;
    case Method::integrated_gradients: integrated_gradients(q, out); break;
    case Method::smooth_grad: smooth_grad(q, out); break;
    case Method::occlusion: occlusion(q, out); break;
    case Method::lime: lime(q, out); break;
  }
  for (const float v : out.map.values<float>()) {
    if (!std::isfinite(v)) {
      throw Error(ErrorKind::numeric, "explain", "the map has values that are not finite");
    }
  }
  return out;
}

Explanation explain(const Model& model, const Tensor& x, const ExplainOptions& options) {
  return Explainer(model)(x, options);
}

}  // namespace fovea::insight
