#include "train/linear_probe.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "augment/loader.h"
#include "core/autograd/modes.h"
#include "core/error.h"
#include "core/rng.h"
#include "core/threads/parallel.h"
#include "layers/modules/containers.h"
#include "layers/ops/dense.h"
#include "models/transfer.h"
#include "train/lbfgs_internal.h"

namespace fovea {
namespace {

constexpr std::int64_t kMostRowsToChoose = 8000;

using Rows = std::vector<std::int64_t>;

void check(const CancelToken* cancel) {
  if (cancel && cancel->requested()) throw Error(ErrorKind::cancelled, "linear probe", "stopped");
}

Tensor take_rows(const Tensor& x, const Rows& rows) {
  const std::int64_t width = x.dim(1);
  Tensor out(Shape{static_cast<std::int64_t>(rows.size()), width}, DType::f32);
  const float* from = x.data<float>();
  float* to = out.mutable_data<float>();
  for (std::size_t i = 0; i < rows.size(); ++i) std::copy_n(from + rows[i] * width, width, to + i * width);
  return out;
}

/// Mean and 1/deviation of each column. A column that never varies gets 0: it tells nothing, and its weight stays 0.
struct Scaling {
  std::vector<double> mean, inverse;

  explicit Scaling(const Tensor& x) : mean(column_count(x)), inverse(column_count(x)) {
    const std::int64_t n = x.dim(0), width = x.dim(1);
    const float* v = x.data<float>();
    std::vector<double> square(mean.size());
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < width; ++j) mean[j] += v[i * width + j];
    for (double& m : mean) m /= static_cast<double>(n);
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < width; ++j) {
        const double d = v[i * width + j] - mean[j];
        square[j] += d * d;
      }
    }
    for (std::size_t j = 0; j < mean.size(); ++j) {
      const double deviation = std::sqrt(square[j] / static_cast<double>(n));
      // Rounding leaves a constant column a deviation of about 1e-7 of its value.
      inverse[j] = deviation > 1e-6 * std::abs(mean[j]) && deviation > 1e-12 ? 1 / deviation : 0;
    }
  }
  static std::size_t column_count(const Tensor& x) { return static_cast<std::size_t>(x.dim(1)); }

  Tensor operator()(const Tensor& x) const {
    const std::int64_t n = x.dim(0), width = x.dim(1);
    Tensor out(x.shape(), DType::f32);
    const float* from = x.data<float>();
    float* to = out.mutable_data<float>();
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < width; ++j)
        to[i * width + j] = static_cast<float>((from[i * width + j] - mean[j]) * inverse[j]);
    }
    return out;
  }
};

/// Mean cross-entropy over standardised rows plus penalty/2·Σw², and its gradient. Parameters: w [F, K], then bias [K].
class Objective {
 public:
  Objective(Tensor x, std::vector<std::int64_t> labels, std::vector<double> row_weights, int classes)
      : x_(std::move(x)), labels_(std::move(labels)), row_weights_(std::move(row_weights)), classes_(classes) {
    total_ = std::accumulate(row_weights_.begin(), row_weights_.end(), 0.0);
  }

  std::size_t size() const { return static_cast<std::size_t>((x_.dim(1) + 1) * classes_); }
  /// Rows count by their weight.
  double total() const { return total_; }
  void set_penalty(double penalty) { penalty_ = penalty; }

  double operator()(const std::vector<double>& at, std::vector<double>& gradient) const {
    const std::int64_t n = x_.dim(0), width = x_.dim(1), k = classes_;
    Tensor w(Shape{width, k}, DType::f32), residual;
    std::transform(at.begin(), at.begin() + width * k, w.mutable_data<float>(),
                   [](double v) { return static_cast<float>(v); });
    residual = matmul(x_, w);  // the logits without bias, then what cross-entropy's gradient makes of them
    float* z = residual.mutable_data<float>();
    const double* bias = at.data() + width * k;
    std::vector<double> bias_gradient(static_cast<std::size_t>(k)), p(static_cast<std::size_t>(k));
    double loss = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      double most = -1e300, sum = 0;
      for (std::int64_t c = 0; c < k; ++c) most = std::max(most, p[c] = z[i * k + c] + bias[c]);
      const double own = p[labels_[i]] - most;
      for (std::int64_t c = 0; c < k; ++c) sum += p[c] = std::exp(p[c] - most);
      const double weight = row_weights_[i] / total_;
      loss += weight * (std::log(sum) - own);
      for (std::int64_t c = 0; c < k; ++c) {
        const double g = weight * (p[c] / sum - (c == labels_[i] ? 1 : 0));
        bias_gradient[c] += g;
        z[i * k + c] = static_cast<float>(g);
      }
    }
    const Tensor slope = matmul(x_, residual, true);
    const float* s = slope.data<float>();
    double squares = 0;
    for (std::int64_t j = 0; j < width * k; ++j) {
      squares += at[j] * at[j];
      gradient[j] = s[j] + penalty_ * at[j];
    }
    std::copy(bias_gradient.begin(), bias_gradient.end(), gradient.begin() + width * k);
    return loss + 0.5 * penalty_ * squares;
  }

 private:
  Tensor x_;
  std::vector<std::int64_t> labels_;
  std::vector<double> row_weights_;
  int classes_;
  double total_ = 0, penalty_ = 0;
};

/// The regularisation path over some rows: each C starts from the solution of the one before.
struct Path {
  Scaling scaling;
  Objective objective;
  std::vector<double> solution;
  int classes;

  Path(const Tensor& x, const std::vector<std::int64_t>& labels, const std::vector<double>& class_weights, int k)
      : scaling(x), objective(scaling(x), labels, weights(labels, class_weights), k), classes(k) {
    solution.assign(objective.size(), 0.0);
  }
  static std::vector<double> weights(const std::vector<std::int64_t>& labels, const std::vector<double>& of_class) {
    std::vector<double> out(labels.size(), 1.0);
    for (std::size_t i = 0; i < labels.size() && !of_class.empty(); ++i)
      out[i] = of_class[static_cast<std::size_t>(labels[i])];
    return out;
  }

  void fit(double c, const CancelToken* cancel) {
    // Of two classes scikit-learn keeps one column, w₁ − w₀, whose square is twice the sum of our two columns'.
    objective.set_penalty((classes == 2 ? 2 : 1) / (c * objective.total()));
    minimize_lbfgs(objective, solution, {.gradient_tolerance = 2e-5, .most_steps = 400, .cancel = cancel});
  }

  LinearProbe probe(double c) const {
    const std::size_t width = scaling.mean.size(), k = static_cast<std::size_t>(classes);
    LinearProbe out;
    out.c = c;
    out.weight = Tensor(Shape{static_cast<std::int64_t>(width), classes}, DType::f32);
    out.bias = Tensor(Shape{classes}, DType::f32);
    float* w = out.weight.mutable_data<float>();
    std::vector<double> bias(solution.end() - classes, solution.end());
    for (std::size_t j = 0; j < width; ++j) {
      for (std::size_t i = 0; i < k; ++i) {
        const double v = solution[j * k + i] * scaling.inverse[j];
        bias[i] -= v * scaling.mean[j];
        w[j * k + i] = static_cast<float>(v);
      }
    }
    std::transform(bias.begin(), bias.end(), out.bias.mutable_data<float>(),
                   [](double v) { return static_cast<float>(v); });
    return out;
  }
};

/// Which fold each row is held out in: classes spread evenly, groups whole (largest first, to the fold that has least
/// of their first row's class).
std::vector<int> assign_folds(const Features& f, const Rows& rows, int classes, int folds, std::uint64_t seed) {
  std::vector<Rows> units;
  std::map<std::string, std::size_t> unit_of;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::string& group = f.groups.empty() ? std::string() : f.groups[static_cast<std::size_t>(rows[i])];
    const auto [at, is_new] = unit_of.try_emplace(group.empty() ? str("\n", i) : group, units.size());
    if (is_new) units.emplace_back();
    units[at->second].push_back(static_cast<std::int64_t>(i));
  }
  Rng rng(seed, "linear probe folds");
  for (std::size_t i = units.size(); i > 1; --i) std::swap(units[i - 1], units[rng.below(i)]);
  std::stable_sort(units.begin(), units.end(), [](const Rows& a, const Rows& b) { return a.size() > b.size(); });
  std::vector<std::vector<std::int64_t>> have(static_cast<std::size_t>(folds),
                                              std::vector<std::int64_t>(static_cast<std::size_t>(classes) + 1));
  std::vector<int> fold(rows.size());
  for (const Rows& unit : units) {
    const auto label = static_cast<std::size_t>(f.labels[static_cast<std::size_t>(rows[unit.front()])]);
    std::size_t best = 0;
    for (std::size_t k = 1; k < have.size(); ++k) {
      if (std::pair(have[k][label], have[k].back()) < std::pair(have[best][label], have[best].back())) best = k;
    }
    for (const std::int64_t i : unit) {
      fold[static_cast<std::size_t>(i)] = static_cast<int>(best);
      ++have[best][static_cast<std::size_t>(f.labels[static_cast<std::size_t>(rows[i])])];
      ++have[best].back();
    }
  }
  return fold;
}

std::vector<std::int64_t> labels_of(const Features& f, const Rows& rows) {
  std::vector<std::int64_t> out;
  out.reserve(rows.size());
  for (const std::int64_t r : rows) out.push_back(f.labels[static_cast<std::size_t>(r)]);
  return out;
}

double choose(const Features& f, int classes, const LinearProbeOptions& o, std::vector<LinearProbe::Trial>& trials) {
  Rows rows(f.labels.size());
  std::iota(rows.begin(), rows.end(), 0);
  if (static_cast<std::int64_t>(rows.size()) > kMostRowsToChoose) {
    Rng rng(o.seed, "linear probe rows");
    for (std::size_t i = rows.size(); i > 1; --i) std::swap(rows[i - 1], rows[rng.below(i)]);
    rows.resize(kMostRowsToChoose);
  }
  const std::vector<int> fold = assign_folds(f, rows, classes, o.folds, o.seed);
  struct Held {
    Path path;
    Tensor x;
    std::vector<std::int64_t> labels;
  };
  std::vector<Held> parts;
  for (int k = 0; k < o.folds; ++k) {
    Rows in, out;
    for (std::size_t i = 0; i < rows.size(); ++i) (fold[i] == k ? out : in).push_back(rows[i]);
    if (out.empty() || in.empty()) continue;  // fewer groups than folds
    parts.push_back({Path(take_rows(f.values, in), labels_of(f, in), o.class_weights, classes),
                     take_rows(f.values, out), labels_of(f, out)});
  }
  // One group only: nothing can be held out, so a cautious middle is taken.
  if (parts.empty()) return o.c[o.c.size() / 2];
  std::size_t best = 0;
  int done = 0, rises = 0;
  for (std::size_t t = 0; t < o.c.size() && rises < 2; ++t) {
    LinearProbe::Trial trial{o.c[t], 0, 0};
    std::int64_t n = 0;
    for (Held& part : parts) {
      check(o.cancel);
      part.path.fit(o.c[t], o.cancel);
      const Tensor probabilities = probe_probabilities(part.path.probe(o.c[t]), part.x);
      const float* p = probabilities.data<float>();
      for (const std::int64_t label : part.labels) {
        trial.log_loss -= std::log(std::max(static_cast<double>(p[label]), 1e-12));
        trial.accuracy += std::max_element(p, p + classes) - p == label;
        p += classes;
        ++n;
      }
      if (o.on_fit) o.on_fit(++done, static_cast<int>(o.c.size() * parts.size()));
    }
    trial.log_loss /= static_cast<double>(n);
    trial.accuracy /= static_cast<double>(n);
    rises = t > 0 && trial.log_loss > trials.back().log_loss ? rises + 1 : 0;
    trials.push_back(trial);
    if (trial.log_loss < trials[best].log_loss) best = t;
  }
  return trials[best].c;
}

}  // namespace

namespace {

/// A list of ops as a network.
class ListNetwork final : public Module {
 public:
  explicit ListNetwork(OpList list) : list_(std::move(list)) {}
  std::string_view kind() const override { return "ListNetwork"; }
  Tensor forward(const Tensor& x) override { return list_.run({&x, 1})[0]; }

 private:
  OpList list_;
};

/// What comes before the classifier; dropout in it does nothing outside of training. Of a network that was read from a
/// file, which is a list of ops and no chain any more, all that its last dense layer reads.
ModulePtr trunk_of(const Model& model) {
  if (dynamic_cast<const Sequential*>(&model.network()) == nullptr) {
    OpList list = model.capture(1);
    const auto last = std::find_if(list.nodes.rbegin(), list.nodes.rend(),
                                   [&](const OpList::Node& n) { return n.outputs[0] == list.outputs[0]; });
    if (last != list.nodes.rend() && last->op->type() == "dense") {
      list.outputs = {last->inputs[0]};
      list.nodes.erase(std::prev(last.base()));
      return std::make_shared<ListNetwork>(std::move(list));
    }
  }
  return split_at(model, "classifier").first;
}

}  // namespace

Features compute_features(const Model& model, const DatasetPtr& dataset, const FeatureOptions& options) {
  const auto trunk = options.forward ? options.forward : feature_extractor(model);
  LoaderOptions loading;
  loading.batch_size = std::min(options.batch_size, dataset->size());
  loading.workers = options.workers;
  loading.preprocessing = model.preprocessing;
  loading.skip_corrupt = options.skip_corrupt;
  loading.cache = options.cache;
  Loader loader(dataset, loading);
  loader.start_epoch(0);
  const InferenceMode inference;
  const NoGrad off;
  Features out;
  std::vector<float> values;
  std::int64_t width = 0, done = 0;
  for (Batch batch; loader.next(batch);) {
    check(options.cancel);
    const Tensor f = trunk(batch.images);
    width = f.dim(-1);
    const float* v = f.data<float>();
    values.insert(values.end(), v, v + f.numel());
    for (const std::int64_t i : batch.indices) {
      out.labels.push_back(dataset->label(i));
      out.groups.push_back(dataset->group(i));
    }
    if (options.on_batch) options.on_batch(++done, loader.batches_per_epoch());
  }
  out.values = Tensor::from(Shape{static_cast<std::int64_t>(out.labels.size()), width}, values);
  out.skipped = loader.skipped();
  return out;
}

Model feature_network(const Model& model) {
  Model out(trunk_of(model));
  out.preprocessing = model.preprocessing;
  out.preprocessing.mirrored = false;
  return out;
}

std::function<Tensor(const Tensor&)> feature_extractor(const Model& model) {
  return [trunk = trunk_of(model)](const Tensor& images) {
    const InferenceMode inference;
    const NoGrad off;
    return (*trunk)(images);
  };
}

LinearProbe fit_linear_probe(const Features& f, int classes, const LinearProbeOptions& o) {
  const auto require = [](bool good, std::string_view what, std::string_view hint = {}) {
    if (!good) throw Error(ErrorKind::usage, "linear probe", what, hint);
  };
  require(classes >= 2, str("needs at least 2 classes, got ", classes));
  require(f.values.defined() && f.values.rank() == 2 && f.values.dtype() == DType::f32 &&
              f.values.dim(0) == static_cast<std::int64_t>(f.labels.size()),
          "features are not f32 [n, F] with n labels");
  require(f.groups.empty() || f.groups.size() == f.labels.size(), "there is not one group per row");
  require(o.folds >= 2 && !o.c.empty() && std::is_sorted(o.c.begin(), o.c.end()) && o.c.front() > 0,
          "folds must be at least 2 and C positive and ascending");
  require(o.class_weights.empty() || o.class_weights.size() == static_cast<std::size_t>(classes),
          str("there are ", o.class_weights.size(), " class weights for ", classes, " classes"));
  for (const std::int64_t label : f.labels)
    require(label >= 0 && label < classes, str("label ", label, " is none of ", classes, " classes"));
  const float* v = f.values.data<float>();
  if (!std::all_of(v, v + f.values.numel(), [](float x) { return std::isfinite(x); }))
    throw Error(ErrorKind::numeric, "linear probe", "a feature is NaN or Inf", "look at the weights that were loaded");

  std::vector<LinearProbe::Trial> trials;
  const double c = o.c.size() == 1 ? o.c.front() : choose(f, classes, o, trials);
  Path path(f.values, f.labels, o.class_weights, classes);
  for (const double step : o.c) {
    check(o.cancel);
    if (step <= c) path.fit(step, o.cancel);
  }
  LinearProbe probe = path.probe(c);
  probe.trials = std::move(trials);
  return probe;
}

Tensor probe_probabilities(const LinearProbe& probe, const Tensor& features) {
  const NoGrad off;
  Tensor p = dense(features, probe.weight, probe.bias);
  const std::int64_t k = p.dim(1);
  float* z = p.mutable_data<float>();
  for (std::int64_t i = 0; i < p.dim(0); ++i, z += k) {
    const float most = *std::max_element(z, z + k);
    double sum = 0;
    for (std::int64_t c = 0; c < k; ++c) sum += std::exp(static_cast<double>(z[c] - most));
    for (std::int64_t c = 0; c < k; ++c) z[c] = static_cast<float>(std::exp(static_cast<double>(z[c] - most)) / sum);
  }
  return p;
}

void set_classifier(Model& model, const LinearProbe& probe) {
  Tensor weight = model.network().tensor("classifier.weight"), bias = model.network().tensor("classifier.bias");
  if (weight.shape() != probe.weight.shape() || bias.shape() != probe.bias.shape()) {
    throw Error(ErrorKind::shape, "set_classifier",
                str("the probe is ", probe.weight.to_string(), ", the classifier ", weight.to_string()));
  }
  weight.copy_from(probe.weight.to(weight.dtype()));
  bias.copy_from(probe.bias.to(bias.dtype()));
}

}  // namespace fovea
