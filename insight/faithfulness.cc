#include "insight/faithfulness.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"
#include "models/graph_module.h"

namespace fovea::insight {
namespace {

/// Replaces the most important pixels of `from` by those of `to`, step by step.
Curve curve(Explainer& explainer, const Tensor& from, const Tensor& to, int target, const Tensor& map,
            const CurveOptions& o) {
  const std::int64_t height = from.dim(1), width = from.dim(2), channels = from.dim(3), pixels = height * width;
  if (!map.defined() || map.rank() != 2 || map.dim(0) != height || map.dim(1) != width) {
    throw Error(ErrorKind::shape, "curve",
                str("expected a map ", Shape{height, width}, ", got ",
                    map.defined() ? map.to_string() : std::string("nothing")));
  }
  if (o.steps < 1 || o.steps > 10'000 || o.batch_size < 1)
    throw Error(ErrorKind::usage, "curve", "steps must lie in 1 to 10000, batch_size must be at least 1");
  const float* importance = map.data<float>();
  std::vector<std::int64_t> order(static_cast<std::size_t>(pixels));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t a, std::int64_t b) { return importance[a] > importance[b]; });
  Curve out;
  Tensor state = from.clone();
  float* s = state.mutable_data<float>();
  const float* t = to.data<float>();
  std::int64_t changed = 0;
  for (int begin = 0; begin <= o.steps; begin += o.batch_size) {
    const int n = std::min(o.batch_size, o.steps + 1 - begin);
    Tensor batch({n, height, width, channels});
    float* b = batch.mutable_data<float>();
    for (int i = 0; i < n; ++i) {
      const std::int64_t wanted = pixels * (begin + i) / o.steps;
      for (; changed < wanted; ++changed) {
        const std::int64_t p = order[static_cast<std::size_t>(changed)] * channels;
        std::copy(t + p, t + p + channels, s + p);
      }
      std::copy(s, s + state.numel(), b + i * state.numel());
      out.share.push_back(static_cast<double>(wanted) / static_cast<double>(pixels));
    }
    const Tensor p = explainer.probabilities(batch);
    if (target < 0 || target >= p.dim(1)) throw Error(ErrorKind::usage, "curve", str("there is no class ", target));
    for (int i = 0; i < n; ++i) out.probability.push_back(static_cast<double>(p.data<float>()[i * p.dim(1) + target]));
  }
  for (std::size_t i = 1; i < out.share.size(); ++i)
    out.area += (out.share[i] - out.share[i - 1]) * (out.probability[i] + out.probability[i - 1]) / 2;
  return out;
}

Tensor batch_of_one(const Tensor& x) {
  return x.defined() && x.rank() == 3 ? x.view_as(Shape{1, x.dim(0), x.dim(1), x.dim(2)}) : x;
}

std::vector<double> ranks(const std::vector<float>& v) {
  std::vector<std::size_t> order(v.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return v[a] < v[b]; });
  std::vector<double> out(v.size());
  for (std::size_t i = 0; i < order.size();) {
    std::size_t end = i;
    while (end < order.size() && v[order[end]] == v[order[i]]) ++end;
    for (std::size_t k = i; k < end; ++k) out[order[k]] = static_cast<double>(i + end - 1) / 2;
    i = end;
  }
  return out;
}

Tensor magnitudes(const Tensor& map) {
  Tensor out = map.clone();
  for (float *v = out.mutable_data<float>(), *end = v + out.numel(); v != end; ++v) *v = std::abs(*v);
  return out;
}

}  // namespace

Curve deletion_curve(Explainer& explainer, const Tensor& x, int target, const Tensor& map, const CurveOptions& o) {
  const Tensor empty = filled(x, explainer.model().preprocessing, o.deletion_fill);
  return curve(explainer, batch_of_one(x), empty, target, map, o);
}

Curve insertion_curve(Explainer& explainer, const Tensor& x, int target, const Tensor& map, const CurveOptions& o) {
  const Tensor empty = filled(x, explainer.model().preprocessing, o.insertion_fill);
  return curve(explainer, empty, batch_of_one(x), target, map, o);
}

double rank_correlation(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape())
    throw Error(ErrorKind::shape, "rank_correlation", str("maps of shapes ", a.shape(), " and ", b.shape()));
  const std::vector<double> ra = ranks(a.to_vector<float>()), rb = ranks(b.to_vector<float>());
  const double mean = (static_cast<double>(ra.size()) - 1) / 2;
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < ra.size(); ++i) {
    ab += (ra[i] - mean) * (rb[i] - mean);
    aa += (ra[i] - mean) * (ra[i] - mean);
    bb += (rb[i] - mean) * (rb[i] - mean);
  }
  return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 0;
}

SanityCheck sanity_check(const Model& model, const Tensor& x, const ExplainOptions& options, int cascade) {
  const Explanation original = explain(model, x, options);
  ExplainOptions asked = options;
  asked.target = original.target;
  const Tensor before = magnitudes(original.map);
  // A copy of the network: its op list, with tensors of its own.
  OpList list = model.capture();
  std::map<std::string, ParameterRole> roles;
  for (const NamedTensor& t : model.network().named_tensors()) {
    if (!t.is_buffer) roles.emplace(t.name, t.role);
  }
  for (OpList::Value& value : list.values) {
    if (value.tensor.defined()) value.tensor = value.tensor.clone();
  }
  Model copy(std::make_shared<GraphModule>(std::move(list), roles));
  copy.preprocessing = model.preprocessing;
  std::vector<std::pair<std::string, std::vector<NamedTensor>>> children;
  for (const NamedTensor& t : copy.network().parameters()) {
    const std::string child = t.name.substr(0, t.name.find('.'));
    if (children.empty() || children.back().first != child) children.push_back({child, {}});
    children.back().second.push_back(t);
  }
  if (children.empty()) throw Error(ErrorKind::usage, "sanity_check", "the network has no parameters to draw anew");
  SanityCheck out;
  for (auto child = children.rbegin(); child != children.rend(); ++child) {
    if (cascade > 0 && out.modules.size() == static_cast<std::size_t>(cascade)) break;
    for (NamedTensor& t : child->second) {
      // The same spread as before, so that activations keep their size, with nothing of what was learned.
      const std::vector<float> v = t.tensor.to_vector<float>();
      double mean = 0, squares = 0;
      for (const float e : v) mean += static_cast<double>(e) / static_cast<double>(v.size());
      for (const float e : v) squares += (static_cast<double>(e) - mean) * (static_cast<double>(e) - mean);
      const double deviation = std::sqrt(squares / static_cast<double>(v.size()));
      Rng rng(options.seed, str("sanity:", t.name));
      Tensor drawn(t.tensor.shape());
      for (float *p = drawn.mutable_data<float>(), *end = p + drawn.numel(); p != end; ++p)
        *p = static_cast<float>(rng.normal(mean, deviation));
      t.tensor.copy_from(drawn.to(t.tensor.dtype()));
    }
    out.modules.push_back(child->first);
    out.correlation.push_back(rank_correlation(before, magnitudes(explain(copy, x, asked).map)));
  }
  return out;
}

}  // namespace fovea::insight
