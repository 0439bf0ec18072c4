// Runs a network over pictures and gathers what the page shows.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <numeric>

#include "core/error.h"
#include "core/rng.h"
#include "core/threads/parallel.h"
#include "image/encode.h"
#include "image/preprocess.h"
#include "infer/compile/compile.h"
#include "insight/explain.h"
#include "insight/render.h"
#include "insight/report/report.h"
#include "insight/rows_internal.h"
#include "models/summary.h"
#include "train/evaluation.h"

namespace fovea::insight {
namespace {

constexpr int kSide = 288;  ///< pixels of a case's picture: sharp at 150 points on most screens
constexpr int kFolds = 5;

double milliseconds(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<std::size_t>(std::ceil(q * static_cast<double>(values.size())));
  return values[std::min(values.size() - 1, rank > 0 ? rank - 1 : 0)];
}

std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const std::size_t colon = line.find(':');
    return colon == std::string::npos || colon + 2 > line.size() ? std::string() : line.substr(colon + 2);
  }
  return {};
}

ReportCost measure_cost(const Model& model, const Dataset& data, const std::function<Tensor(const Tensor&)>& forward,
                        const ReportOptions& o) {
  ReportCost cost;
  cost.parameters = model.network().parameter_count();
  cost.multiply_adds = models::cost(model).macs;
  cost.threads = num_threads();
  cost.processor = processor();
  if (o.seconds <= 0) return cost;
  const image::Preprocessing& p = model.preprocessing;
  Tensor x({1, p.height, p.width, p.channels});
  std::vector<double> decode, answer;
  const auto begin = std::chrono::steady_clock::now();
  for (std::int64_t i = 0; i < std::min<std::int64_t>(20, data.size()) && milliseconds(begin) < 500 * o.seconds; ++i) {
    const auto start = std::chrono::steady_clock::now();
    try {
      image::to_floats(data.image(i), p, x.mutable_data<float>());
      decode.push_back(milliseconds(start));
    } catch (const Error&) {  // a damaged picture was reported by the evaluation
    }
  }
  for (int i = 0; i < 3; ++i) forward(x);
  const auto warm = std::chrono::steady_clock::now();
  while (answer.size() < 10 || (milliseconds(warm) < 1000 * o.seconds && answer.size() < 1000)) {
    const auto start = std::chrono::steady_clock::now();
    forward(x);
    answer.push_back(milliseconds(start));
  }
  cost.median_ms = quantile(answer, 0.5);
  cost.p90_ms = quantile(answer, 0.9);
  cost.decode_ms = quantile(decode, 0.5);
  return cost;
}

/// Each fifth by the temperature of the other four: the same pictures cannot both fit and praise it.
void calibrate_across(Report& r, const Tensor& logits, std::uint64_t seed) {
  const auto n = static_cast<std::int64_t>(r.labels.size());
  if (n < 10 * kFolds) return;
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  Rng rng(seed, "report folds");
  for (std::size_t i = order.size() - 1; i > 0; --i) std::swap(order[i], order[rng.below(i + 1)]);
  Tensor tempered(logits.shape());
  const Temperature whole = fit_temperature(logits, r.labels);
  if (whole.at_limit) return;
  for (int fold = 0; fold < kFolds; ++fold) {
    std::vector<std::int64_t> in, out, labels;
    for (std::size_t k = 0; k < order.size(); ++k)
      (static_cast<int>(k % kFolds) == fold ? out : in).push_back(order[k]);
    for (const std::int64_t i : in) labels.push_back(r.labels[static_cast<std::size_t>(i)]);
    const Temperature t = fit_temperature(take_rows(logits, in), labels);
    if (t.at_limit) return;
    const Tensor p = tempered_probabilities(take_rows(logits, out), t.value);
    for (std::size_t k = 0; k < out.size(); ++k)
      std::copy_n(p.data<float>() + static_cast<std::int64_t>(k) * p.dim(1), static_cast<std::size_t>(p.dim(1)),
                  tempered.mutable_data<float>() + out[k] * p.dim(1));
  }
  r.temperature = whole.value;
  r.temperature_source = "these pictures, each fifth by the temperature of the other four";
  r.tempered = tempered;
  r.calibrated = metrics_of(tempered, r.labels);
}

void calibrate(Report& r, const Tensor& logits, const ReportOptions& o) {
  if (!o.calibration) return calibrate_across(r, logits, o.seed);
  const Temperature t = fit_temperature(o.calibration->first, o.calibration->second);
  if (t.at_limit) return;
  r.temperature = t.value;
  r.temperature_source = o.calibration_name.empty() ? "other pictures" : o.calibration_name;
  r.tempered = tempered_probabilities(logits, t.value);
  r.calibrated = metrics_of(r.tempered, r.labels);
}

struct Choice {
  std::size_t row;
  ReportCase::Kind kind;
};

/// The rows that are shown, by what makes them worth seeing.
std::vector<Choice> choose(const Report& r, int most) {
  const std::int64_t classes = r.probabilities.dim(1);
  std::vector<float> top(r.labels.size()), own(r.labels.size());
  std::vector<std::int64_t> predicted(r.labels.size());
  std::vector<std::size_t> wrong, right;
  for (std::size_t i = 0; i < r.labels.size(); ++i) {
    const float* row = r.probabilities.data<float>() + static_cast<std::int64_t>(i) * classes;
    predicted[i] = std::max_element(row, row + classes) - row;
    top[i] = row[predicted[i]];
    own[i] = row[r.labels[i]];
    (predicted[i] == r.labels[i] ? right : wrong).push_back(i);
  }
  std::vector<Choice> out;
  std::vector<char> taken(r.labels.size());
  const auto take = [&](std::vector<std::size_t>& from, ReportCase::Kind kind, auto&& before, auto&& room) {
    std::stable_sort(from.begin(), from.end(), before);
    for (const std::size_t i : from) {
      if (taken[i] || !room(i)) continue;
      taken[i] = 1;
      out.push_back({i, kind});
    }
  };
  int left = most;
  const auto surer = [&](auto a, auto b) { return top[a] > top[b]; };
  if (classes == 2) {
    // The two rankings of more classes would be one here, and what is missed is another matter than a false alarm.
    for (const bool positive : {true, false}) {
      left = most;
      take(wrong, positive ? ReportCase::Kind::missed : ReportCase::Kind::false_alarm, surer,
           [&](std::size_t i) { return (r.labels[i] == r.positive) == positive && left-- > 0; });
    }
  } else {
    const auto any = [&](std::size_t) { return left-- > 0; };
    take(wrong, ReportCase::Kind::confident_mistake, surer, any);
    left = most;
    take(
        wrong, ReportCase::Kind::worst_error, [&](auto a, auto b) { return own[a] < own[b]; }, any);
  }
  // As many of each class, so that the sides of the question are both seen.
  std::vector<int> rooms(static_cast<std::size_t>(classes), std::max(1, most / static_cast<int>(classes)));
  left = most;
  take(right, ReportCase::Kind::confident_right, surer,
       [&](std::size_t i) { return rooms[static_cast<std::size_t>(r.labels[i])]-- > 0 && left-- > 0; });
  std::stable_sort(out.begin(), out.end(), [&](const Choice& a, const Choice& b) {
    const bool both_right = a.kind == b.kind && a.kind == ReportCase::Kind::confident_right;
    return a.kind != b.kind ? a.kind < b.kind : both_right && r.labels[a.row] < r.labels[b.row];
  });
  return out;
}

std::string place_of(const Tensor& map) {
  const auto values = map.values<float>();
  const auto at = std::max_element(values.begin(), values.end()) - values.begin();
  const std::int64_t row = at / map.dim(1) * 3 / map.dim(0), column = at % map.dim(1) * 3 / map.dim(1);
  static constexpr const char* kRows[] = {"upper", "middle", "lower"};
  static constexpr const char* kColumns[] = {"left", "middle", "right"};
  if (row == 1 && column == 1) return "in the middle";
  return str("at the ", row == 1 ? "middle" : kRows[row], " ", kColumns[column]);
}

void show_cases(Report& r, const Model& model, const Dataset& data, const std::vector<std::int64_t>& indices,
                const ReportOptions& o) {
  const std::vector<Choice> choices = choose(r, o.mistakes);
  const std::int64_t classes = r.probabilities.dim(1);
  const image::Preprocessing& p = model.preprocessing;
  std::optional<Explainer> explainer;
  if (o.pictures && !choices.empty()) {
    try {
      explainer.emplace(model);
      r.layer = explainer->default_layer();
    } catch (const Error& e) {  // a network without a feature map: its pictures are shown without maps
      if (e.kind() != ErrorKind::usage) throw;
    }
  }
  for (std::size_t c = 0; c < choices.size(); ++c) {
    if (o.on_progress)
      o.on_progress("explaining", static_cast<std::int64_t>(c), static_cast<std::int64_t>(choices.size()));
    if (o.cancel && o.cancel->requested()) throw Error(ErrorKind::cancelled, "report", "stopped by the user");
    const std::size_t i = choices[c].row;
    const std::int64_t index = indices[i];
    const float* row = r.probabilities.data<float>() + static_cast<std::int64_t>(i) * classes;
    ReportCase shown;
    shown.kind = choices[c].kind;
    shown.name = o.names ? data.name(index) : str("picture ", i + 1);
    shown.group = o.names ? data.group(index) : std::string();
    shown.label = static_cast<int>(r.labels[i]);
    shown.predicted = static_cast<int>(std::max_element(row, row + classes) - row);
    shown.confidence = static_cast<double>(row[shown.predicted]);
    shown.label_probability = static_cast<double>(row[shown.label]);
    if (o.pictures) {
      const image::Image picture = data.image(index);
      const image::Image view = view_of(picture, p, 2 * kSide);
      Explanation why;
      why.map = Tensor({p.height, p.width});
      if (explainer) {
        Tensor x({1, p.height, p.width, p.channels});
        image::to_floats(picture, p, x.mutable_data<float>());
        try {
          why = (*explainer)(x, {.target = shown.predicted});
          shown.strongest = place_of(why.map);
        } catch (const Error& e) {
          if (e.kind() != ErrorKind::usage) throw;
          explainer.reset();
        }
      }
      const Panels panels = render_panels(view, why, {.side = kSide});
      shown.picture = image::encode_jpeg(panels.picture, {.quality = 82});
      if (explainer) shown.overlay = image::encode_jpeg(panels.overlay, {.quality = 82});
      shown.width = panels.picture.width;
      shown.height = panels.picture.height;
    }
    r.cases.push_back(std::move(shown));
  }
}

class Progress final : public TrainObserver {
 public:
  explicit Progress(const ReportOptions& o) : o_(o) {}
  void on_validation_batch(std::int64_t batch, std::int64_t batches) override {
    if (o_.on_progress) o_.on_progress("evaluating", batch, batches);
  }

 private:
  const ReportOptions& o_;
};

}  // namespace

Report make_report(const Model& model, const DatasetPtr& data, const ReportOptions& o) {
  if (!data || data->size() == 0)
    throw Error(ErrorKind::usage, "report", "there are no pictures to judge the network by");
  if (o.mistakes < 0 || o.mistakes > 100 || !(o.seconds >= 0) || o.resamples < 0) {
    throw Error(ErrorKind::usage, "report",
                str("expected 0 to 100 pictures of a kind, at least 0 seconds and resamples, got ", o.mistakes, ", ",
                    o.seconds, " and ", o.resamples));
  }
  Report r;
  r.title = o.title;
  r.network = model.architecture;
  r.class_names = model.class_names.empty() ? data->class_names() : model.class_names;
  r.positive = o.positive;
  r.names = o.names;
  if (r.positive < 0 || r.positive >= static_cast<int>(r.class_names.size()))
    throw Error(ErrorKind::usage, "report", str("there is no class ", r.positive, " of ", r.class_names.size()));

  Progress progress(o);
  EvaluateOptions evaluating;
  evaluating.batch_size = o.batch_size;
  evaluating.workers = o.workers;
  evaluating.skip_corrupt = o.skip_corrupt;
  evaluating.cancel = o.cancel;
  evaluating.observer = &progress;
  evaluating.forward = infer::fast_forward(model);
  const Evaluation result = evaluate(model, data, evaluating);
  r.judged = str(result.labels.size(), " pictures");
  r.skipped = result.skipped;
  r.metrics = result.metrics;
  r.probabilities = result.probabilities;
  r.labels = result.labels;
  if (o.resamples > 0) {
    if (o.on_progress) o.on_progress("intervals", 0, 1);
    r.intervals = bootstrap_metrics(r.probabilities, r.labels, {.resamples = o.resamples, .seed = o.seed});
    r.resamples = o.resamples;
  }
  calibrate(r, result.logits, o);
  std::vector<SliceAttribute> attributes = o.attributes;
  for (SliceAttribute& a : attributes) {
    if (a.values.size() != static_cast<std::size_t>(data->size()))
      throw Error(ErrorKind::shape, "report",
                  str(a.name, " has ", a.values.size(), " values for ", data->size(), " pictures"));
    std::vector<std::string> of_rows;
    for (const std::int64_t i : result.indices) of_rows.push_back(a.values[static_cast<std::size_t>(i)]);
    a.values = std::move(of_rows);
  }
  r.slices = audit_slices(r.probabilities, r.labels, attributes, {.seed = o.seed});
  show_cases(r, model, *data, result.indices, o);
  if (o.on_progress) o.on_progress("timing", 0, 1);
  r.cost = measure_cost(model, *data, evaluating.forward, o);
  return r;
}

}  // namespace fovea::insight
