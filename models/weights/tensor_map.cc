#include "models/weights/tensor_map.h"

#include <algorithm>
#include <array>

#include "core/error.h"

namespace fovea::models {
namespace {

bool is_pytorch(Layout layout) {
  return layout == Layout::torchvision || layout == Layout::timm || layout == Layout::huggingface ||
         layout == Layout::lukemelas;
}

struct Part {
  const char* ours;
  std::vector<const char*> theirs;
};

std::vector<Part> parts(LayerKind kind, Layout layout) {
  const bool depthwise = kind == LayerKind::depthwise;
  switch (kind) {
    case LayerKind::plain: return {};
    case LayerKind::rescale: return {{"running_mean", {"mean"}}, {"running_var", {"variance"}}};
    case LayerKind::norm:
      if (is_pytorch(layout)) {
        return {{"weight", {"weight"}},
                {"bias", {"bias"}},
                {"running_mean", {"running_mean"}},
                {"running_var", {"running_var"}}};
      }
      return {{"weight", {"gamma"}},
              {"bias", {"beta"}},
              {"running_mean", {"moving_mean"}},
              {"running_var", {"moving_variance"}}};
    case LayerKind::conv:
    case LayerKind::depthwise:
    case LayerKind::dense:
      if (is_pytorch(layout)) return {{"weight", {"weight"}}, {"bias", {"bias"}}};
      if (layout == Layout::tfslim)
        return {{"weight", {depthwise ? "depthwise_weights" : "weights"}}, {"bias", {"biases"}}};
      // Keras 2 called the depthwise kernel depthwise_kernel, Keras 3 calls it kernel.
      if (depthwise) return {{"weight", {"kernel", "depthwise_kernel"}}, {"bias", {"bias"}}};
      return {{"weight", {"kernel"}}, {"bias", {"bias"}}};
  }
  return {};
}

template <class To, class From>
To number(From value) {
  if constexpr (std::is_same_v<From, f16> || std::is_same_v<From, bf16>) {
    return static_cast<To>(static_cast<float>(value));
  } else {
    return static_cast<To>(value);
  }
}

/// dst[…] in order, src by strides; rank 2 to 4. Blocks of the two innermost axes keep both sides in cache.
template <class To, class From>
void permute(const From* src, To* dst, const std::array<std::int64_t, 4>& extent,
             const std::array<std::int64_t, 4>& stride) {
  constexpr std::int64_t kBlock = 32;
  for (std::int64_t a = 0; a < extent[0]; ++a) {
    for (std::int64_t b = 0; b < extent[1]; ++b) {
      const From* from = src + a * stride[0] + b * stride[1];
      To* to = dst + (a * extent[1] + b) * extent[2] * extent[3];
      for (std::int64_t c0 = 0; c0 < extent[2]; c0 += kBlock) {
        const std::int64_t c1 = std::min(c0 + kBlock, extent[2]);
        for (std::int64_t d0 = 0; d0 < extent[3]; d0 += kBlock) {
          const std::int64_t d1 = std::min(d0 + kBlock, extent[3]);
          for (std::int64_t c = c0; c < c1; ++c) {
            for (std::int64_t d = d0; d < d1; ++d)
              to[c * extent[3] + d] = number<To>(from[c * stride[2] + d * stride[3]]);
          }
        }
      }
    }
  }
}

struct Walk {
  std::array<std::int64_t, 4> extent{1, 1, 1, 1}, stride{0, 0, 0, 0};
};

/// How to walk the source so that the destination is written in order. `to_ours`: PyTorch OIHW → HWIO, else back.
Walk walk(const Shape& ours, LayerKind kind, bool to_ours) {
  if (kind == LayerKind::dense) {
    const std::int64_t in = ours[0], out = ours[1];
    return to_ours ? Walk{{1, 1, in, out}, {0, 0, 1, in}} : Walk{{1, 1, out, in}, {0, 0, 1, out}};
  }
  const std::int64_t kh = ours[0], kw = ours[1], in = ours[2], out = ours[3];
  if (to_ours) return {{kh, kw, in, out}, {kw, 1, kh * kw, in * kh * kw}};
  return {{out, in, kh, kw}, {1, out, kw * in * out, in * out}};
}

Tensor floating(const Tensor& t, std::string_view name) {
  if (!is_floating(t.dtype()))
    throw Error(ErrorKind::format, name, str("holds ", to_string(t.dtype()), ", expected floating-point numbers"));
  return t;
}

/// Straight from the file's own element type: a converted copy would take up to twice a half-precision file's size.
template <class To>
void permute_into(const Tensor& source, To* dst, const Walk& w) {
  const auto from = [&]<class From>(From) { permute(source.data<From>(), dst, w.extent, w.stride); };
  switch (source.dtype()) {
    case DType::f64: return from(double{});
    case DType::f16: return from(f16{});
    case DType::bf16: return from(bf16{});
    default: return from(float{});
  }
}

}  // namespace

std::vector<TensorPair> tensor_pairs(const LayerNames& names, Layout layout) {
  const char separator = is_pytorch(layout) ? '.' : '/';
  std::vector<TensorPair> out;
  for (const LayerName& layer : names.layers) {
    for (const Part& part : parts(layer.kind, layout)) {
      TensorPair pair{str(layer.module, ".", part.ours),
                      {},
                      layer.kind,
                      layer.as_convolution,
                      std::string_view(part.ours) == "weight" && layer.kind != LayerKind::norm};
      for (const char* theirs : part.theirs) pair.theirs.push_back(str(layer.source, separator, theirs));
      for (const auto& [module, source] : names.alternatives) {
        if (module != layer.module) continue;
        for (const char* theirs : part.theirs) pair.theirs.push_back(str(source, separator, theirs));
      }
      out.push_back(std::move(pair));
    }
  }
  return out;
}

bool is_ignored(const std::string& name, const LayerNames& names) {
  // TensorFlow's training state stands beside the weights in its checkpoints.
  for (const char* end : {".num_batches_tracked", "/count", "/ExponentialMovingAverage", "/RMSProp", "/RMSProp_1",
                          "/Momentum", "/Adam", "/Adam_1"}) {
    if (name.ends_with(end)) return true;
  }
  if (name == "global_step") return true;
  return std::any_of(names.ignored.begin(), names.ignored.end(),
                     [&](const std::string& beginning) { return name.starts_with(beginning); });
}

Shape their_shape(const Shape& ours, const TensorPair& pair, Layout layout) {
  if (!pair.is_weight) return ours;
  const bool dense = pair.kind == LayerKind::dense;
  if (dense && pair.as_convolution)
    return is_pytorch(layout) ? Shape{ours[1], ours[0], 1, 1} : Shape{1, 1, ours[0], ours[1]};
  if (is_pytorch(layout)) return dense ? Shape{ours[1], ours[0]} : Shape{ours[3], ours[2], ours[0], ours[1]};
  if (pair.kind == LayerKind::depthwise) return Shape{ours[0], ours[1], ours[3], 1};
  return ours;
}

bool fits(const Shape& theirs, const Shape& ours, const TensorPair& pair, Layout layout) {
  if (theirs == their_shape(ours, pair, layout)) return true;
  if (!pair.is_weight) return false;
  // The other form than usual, of older or newer files.
  if (pair.kind == LayerKind::dense) {
    TensorPair other = pair;
    other.as_convolution = !pair.as_convolution;
    return theirs == their_shape(ours, other, layout);
  }
  if (theirs.rank() != 4) return false;
  // Keras: [kh, kw, C, m] holds C·m results.
  return pair.kind == LayerKind::depthwise && !is_pytorch(layout) && theirs[0] == ours[0] && theirs[1] == ours[1] &&
         theirs[2] * theirs[3] == ours[3];
}

void to_ours(const Tensor& theirs, Tensor ours, const TensorPair& pair, Layout layout) {
  const Tensor source = floating(theirs, pair.theirs.front());
  const bool turned = pair.is_weight && is_pytorch(layout);
  const Walk w = turned ? walk(ours.shape(), pair.kind, true) : Walk{{1, 1, 1, ours.numel()}, {0, 0, 0, 1}};
  if (!turned) source.view_as(ours.shape());  // as many elements
  if (ours.dtype() == DType::f64) {
    permute_into(source, ours.mutable_data<double>(), w);
  } else {
    permute_into(source, ours.mutable_data<float>(), w);
  }
}

Tensor to_theirs(const Tensor& ours, const TensorPair& pair, Layout layout) {
  const Shape shape = their_shape(ours.shape(), pair, layout);
  if (!pair.is_weight || !is_pytorch(layout)) return ours.view_as(shape).clone();
  Tensor out(shape);
  permute_into(ours.to(DType::f32), out.mutable_data<float>(), walk(ours.shape(), pair.kind, false));
  return out;
}

}  // namespace fovea::models
