// Parts on a conveyor: what passes and what is stopped, by what mistakes cost; and how many a second this computer
// judges.
#include <chrono>

#include "examples/common.h"

using namespace fovea;

namespace {

constexpr const char* kUsage = R"(usage: example_quality_inspection DATA [options]
  DATA             folder with one folder of pictures per class (or with train/
                   and val/), or a CSV manifest
  --good NAMES     classes that may pass, separated by commas; all others are
                   defects (default: a class called good, ok, normal or pass)
  --missed COST    of a defect that passes (default 20)
  --alarm COST     of a good part that is stopped (default 1)
  --weights FILE   pretrained network; without it a small one learns from
                   nothing
  --epochs N       (default: about 9000 pictures in all)
  --seconds S      how long speed is measured, each way (default 3)
  --limit N        uses so many pictures only, to try things out
  --seed N         (default 1)
  --out FOLDER     for the model and plots (default runs/quality_inspection)
)";

/// Which classes are defects.
std::vector<bool> defects_among(const std::vector<std::string>& classes, const std::string& good) {
  std::vector<bool> defect(classes.size(), true);
  std::string known;
  for (const std::string& name : classes) known += (known.empty() ? "" : ", ") + name;
  const std::string wanted = good.empty() ? "good,ok,normal,pass" : good;
  for (std::size_t begin = 0; begin <= wanted.size();) {
    const std::size_t end = std::min(wanted.find(',', begin), wanted.size());
    const auto at = std::find(classes.begin(), classes.end(), wanted.substr(begin, end - begin));
    if (at != classes.end()) {
      defect[static_cast<std::size_t>(at - classes.begin())] = false;
    } else if (!good.empty()) {
      throw Error(ErrorKind::usage, "--good", "no class '" + wanted.substr(begin, end - begin) + "'",
                  "there are: " + known);
    }
    begin = end + 1;
  }
  const auto defects = std::count(defect.begin(), defect.end(), true);
  if (defects == 0 || defects == static_cast<std::ptrdiff_t>(classes.size())) {
    throw Error(ErrorKind::usage, "--good",
                defects ? "no class is known to be good" : "no class is left to be a defect",
                "name the classes that may pass, of: " + known);
  }
  return defect;
}

/// The probability that a part has any defect, of each picture, and whether it has one.
struct Scores {
  std::vector<float> score;
  std::vector<bool> positive;
};
Scores defect_scores(const Evaluation& evaluation, const std::vector<bool>& defect) {
  Scores out;
  const auto p = evaluation.probabilities.values<float>();
  for (std::size_t i = 0; i < evaluation.labels.size(); ++i) {
    float sum = 0;
    for (std::size_t c = 0; c < defect.size(); ++c) sum += defect[c] ? p[i * defect.size() + c] : 0;
    out.score.push_back(sum);
    out.positive.push_back(defect[static_cast<std::size_t>(evaluation.labels[i])]);
  }
  return out;
}

/// Pictures as a camera gives them, in memory: one at a time for the latency, in batches for the throughput.
void measure_speed(const Model& model, const DatasetPtr& pictures, double duration) {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::time_point since) {
    return std::chrono::duration<double>(Clock::now() - since).count();
  };
  std::vector<image::Image> frames;
  for (std::int64_t i = 0; i < std::min<std::int64_t>(pictures->size(), 64); ++i) frames.push_back(pictures->image(i));
  const image::Preprocessing& p = model.preprocessing;
  const std::int64_t one = std::int64_t{p.height} * p.width * p.channels;
  const auto judge = [&](std::size_t first, std::size_t count) {
    Tensor x({static_cast<std::int64_t>(count), p.height, p.width, p.channels});
    for (std::size_t i = 0; i < count; ++i)
      image::to_floats(frames[(first + i) % frames.size()], p,
                       x.mutable_data<float>() + static_cast<std::int64_t>(i) * one);
    return predict(model, x);
  };
  for (std::size_t i = 0; i < 5; ++i) judge(i, 1);  // the first calls choose and pack
  std::vector<double> latency;
  const auto begin = Clock::now();
  while (latency.size() < 20 || (seconds(begin) < duration && latency.size() < 20'000)) {
    const auto now = Clock::now();
    judge(latency.size(), 1);
    latency.push_back(1e3 * seconds(now));
  }
  const double single = static_cast<double>(latency.size()) / seconds(begin);
  std::sort(latency.begin(), latency.end());
  const auto percentile = [&](double q) {
    return latency[std::min(latency.size() - 1, static_cast<std::size_t>(q * static_cast<double>(latency.size())))];
  };
  constexpr std::size_t kBatch = 16;
  judge(0, kBatch);
  std::size_t judged = 0;
  const auto batches = Clock::now();
  while (judged < 2 * kBatch || seconds(batches) < duration) judge(judged, kBatch), judged += kBatch;
  std::printf("\nspeed on %d threads, frames of %d x %d in memory, resizing included:\n", num_threads(),
              frames[0].width, frames[0].height);
  std::printf(
      "  one by one     %7.1f a second; latency median %.1f ms, 90 %% %.1f,\n"
      "                 99 %% %.1f, worst %.1f (of %zu)\n",
      single, percentile(0.5), percentile(0.9), percentile(0.99), latency.back(), latency.size());
  std::printf("  batches of %zu  %7.1f a second\n", kBatch, static_cast<double>(judged) / seconds(batches));
}

void run(examples::Arguments& arguments) {
  const std::string good = arguments.text("--good"), weights = arguments.text("--weights");
  const DecisionCosts costs{arguments.number("--missed", 20, 0, 1e9), arguments.number("--alarm", 1, 0, 1e9)};
  const double duration = arguments.number("--seconds", 3, 0, 3600);
  const int epochs = arguments.whole("--epochs", 0, 1, 1000), limit = arguments.whole("--limit", 0, 10, 1 << 30);
  const auto seed = static_cast<std::uint64_t>(arguments.whole("--seed", 1, 0, 1 << 30));
  const std::string out = arguments.text("--out", "runs/quality_inspection");
  const std::string path = arguments.positional("DATA");
  arguments.done();

  const Splits parts = examples::three_parts(path, {}, seed, limit);
  const std::vector<bool> defect = defects_among(parts.train->class_names(), good);
  for (const bool kind : {false, true}) {
    std::printf(kind ? "\ndefects:" : "good:");
    for (std::size_t c = 0; c < defect.size(); ++c) {
      if (defect[c] == kind) std::printf(" %s", parts.train->class_names()[c].c_str());
    }
  }
  std::printf("\n");

  const Model model = examples::starting_model(weights, *parts.train, seed);
  examples::EpochLines lines;
  std::vector<TransformPtr> changes = examples::gentle_changes();
  changes.push_back(transforms::vertical_flip());  // a sheet has no upper side
  examples::learn(model, !weights.empty(), parts.train, parts.val,
                  {.epochs = epochs, .seed = seed, .transforms = changes, .observers = {&lines}});

  // Where to stop a part is chosen on pictures that training has not seen, and judged on others again.
  const Scores choosing = defect_scores(evaluate(model, parts.val, {.skip_corrupt = true}), defect);
  const Evaluation test = evaluate(model, parts.test, {.skip_corrupt = true});
  const Scores judging = defect_scores(test, defect);
  const RocPoint& chosen = at_lowest_cost(roc_curve(choosing.score, choosing.positive), costs);
  const double threshold = std::clamp(chosen.threshold, 0.0, 1.0);
  std::printf("\na missed defect costs %g, a false alarm %g: stop from a probability of %.4f\n", costs.missed,
              costs.false_alarm, threshold);
  std::printf("on %zu other pictures       missed  false alarms    cost\n", judging.score.size());
  const auto print = [&](const char* name, const BinaryCounts& counts) {
    std::printf("  %-20s %4lld of %-4lld %5lld of %-4lld %7g\n", name, static_cast<long long>(counts.false_negatives),
                static_cast<long long>(counts.positives()), static_cast<long long>(counts.false_positives),
                static_cast<long long>(counts.negatives()), costs.of(counts));
  };
  const BinaryCounts counts = count_at(judging.score, judging.positive, threshold);
  print("from 0.5", count_at(judging.score, judging.positive, 0.5));
  char chosen_name[32];
  std::snprintf(chosen_name, sizeof chosen_name, "from %.4f", threshold);
  print(chosen_name, counts);
  std::printf("all %zu classes: accuracy %.2f %%\n", defect.size(), 100 * test.metrics.accuracy);
  measure_speed(model, parts.test, duration);

  make_folders(out);
  save(model, out + "/model.fovea");
  write_file(out + "/decisions.svg", confusion_svg({{counts.true_negatives, counts.false_positives},
                                                    {counts.false_negatives, counts.true_positives}},
                                                   {"good", "defect"},
                                                   {.title = "Decisions and their costs",
                                                    .columns = {"pass", "stop"},
                                                    .costs = {{0, costs.false_alarm}, {costs.missed, 0}}}));
  write_file(out + "/confusion.svg", confusion_svg(test.metrics.confusion, model.class_names));
  std::printf("%s holds model.fovea, decisions.svg, confusion.svg\n", out.c_str());
}

}  // namespace

int main(int argc, char** argv) { return examples::run_example(argc, argv, kUsage, run); }
