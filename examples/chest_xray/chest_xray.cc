// Two kinds of chest X-rays, judged as a study would: patients kept apart, an operating point chosen beforehand,
// intervals with every figure. A demonstration of method, NOT FOR CLINICAL USE.
#include <set>

#include "examples/common.h"

using namespace fovea;

namespace {

constexpr const char* kNotice = "NOT FOR CLINICAL USE: a demonstration on a small public data set.";
constexpr const char* kUsage = R"(usage: example_chest_xray DATA [options]
NOT FOR CLINICAL USE: a demonstration on a small public data set.
  DATA               folder with one folder of pictures per class (or with
                     train/ and val/), or a CSV manifest with the columns
                     path,label,group
  --patient N        the first N characters of a file name are the patient
                     (default 8; 0: the data names no patients)
  --positive NAME    the class to be found (default: the last one)
  --sensitivity S    share of it that should be found; chosen on validation
                     (default 0.9)
  --weights FILE     pretrained network; without it a small one learns from
                     nothing
  --epochs N         (default: about 9000 pictures in all)
  --limit N          uses so many pictures only, to try things out
  --seed N           (default 1)
  --out FOLDER       for the model and plots (default runs/chest_xray)
)";

std::set<std::string> patients_of(const Dataset& part) {
  std::set<std::string> patients;
  for (std::int64_t i = 0; i < part.size(); ++i) patients.insert(part.group(i));
  patients.erase("");
  return patients;
}

void print(const char* name, double value, const Interval& interval, const char* of) {
  if (std::isnan(value)) {
    std::printf("  %-12s   of none\n", name);
    return;
  }
  std::printf("  %-12s %5.1f %%  (95 %%: %5.1f to %5.1f)  %s\n", name, 100 * value, 100 * interval.low,
              100 * interval.high, of);
}

/// The probability of the positive class of each picture, and which pictures are of it.
struct Scores {
  std::vector<float> score;
  std::vector<bool> positive;
};
Scores scores_of(const Evaluation& evaluation, std::int64_t positive) {
  Scores out;
  const auto p = evaluation.probabilities.values<float>();
  const auto classes = static_cast<std::size_t>(evaluation.probabilities.dim(1));
  for (std::size_t i = 0; i < evaluation.labels.size(); ++i) {
    out.score.push_back(p[i * classes + static_cast<std::size_t>(positive)]);
    out.positive.push_back(evaluation.labels[i] == positive);
  }
  return out;
}

void run(examples::Arguments& arguments) {
  const int prefix = arguments.whole("--patient", 8, 0, 64);
  const std::string wanted = arguments.text("--positive"), weights = arguments.text("--weights");
  const double sensitivity = arguments.number("--sensitivity", 0.9, 0.01, 1);
  const int epochs = arguments.whole("--epochs", 0, 1, 1000), limit = arguments.whole("--limit", 0, 10, 1 << 30);
  const auto seed = static_cast<std::uint64_t>(arguments.whole("--seed", 1, 0, 1 << 30));
  const std::string out = arguments.text("--out", "runs/chest_xray");
  const std::string path = arguments.positional("DATA");
  arguments.done();
  std::printf("%s\n", kNotice);

  const Splits parts = examples::three_parts(path, {.group_prefix = prefix}, seed, limit);
  const std::vector<std::string>& classes = parts.train->class_names();
  const auto at = wanted.empty() ? classes.end() - 1 : std::find(classes.begin(), classes.end(), wanted);
  if (at == classes.end()) throw Error(ErrorKind::usage, "--positive", "there is no class '" + wanted + "'");
  const std::int64_t positive = at - classes.begin();

  // The same patient in two parts would be recognised instead of diagnosed.
  std::set<std::string> seen;
  for (const auto& [name, part] :
       {std::pair{"learning", parts.train}, {"choosing", parts.val}, {"judging", parts.test}}) {
    const std::set<std::string> patients = patients_of(*part);
    std::printf("%-9s %5lld pictures of %4zu patients, %lld %s\n", name, static_cast<long long>(part->size()),
                patients.size(), static_cast<long long>(class_counts(*part)[static_cast<std::size_t>(positive)]),
                at->c_str());
    for (const std::string& patient : patients) {
      if (!seen.insert(patient).second)
        throw Error(ErrorKind::usage, "data", "patient " + patient + " is in two parts of the data",
                    "put all pictures of a patient into one, or give the data in one piece to be divided");
    }
  }
  if (seen.empty()) std::printf("the data names no patients: the same one may be in two parts\n");

  const Model model = examples::starting_model(weights, *parts.train, seed);
  examples::EpochLines lines;
  examples::learn(model, !weights.empty(), parts.train, parts.val,
                  {.epochs = epochs,
                   .seed = seed,
                   .transforms = examples::gentle_changes(false),  // the heart is on the left
                   .observers = {&lines}});

  const Scores choosing = scores_of(evaluate(model, parts.val, {.skip_corrupt = true}), positive);
  const Scores judging = scores_of(evaluate(model, parts.test, {.skip_corrupt = true}), positive);
  const double threshold = at_sensitivity(roc_curve(choosing.score, choosing.positive), sensitivity).threshold;
  const BinaryCounts counts = count_at(judging.score, judging.positive, threshold);
  const RocCurve curve = roc_curve(judging.score, judging.positive);

  std::printf(
      "\n%zu other pictures, \"%s\" from a probability of %.3f (chosen beforehand for a\n"
      "sensitivity of %.0f %%):\n",
      judging.score.size(), at->c_str(), std::clamp(threshold, 0.0, 1.0), 100 * sensitivity);
  std::printf("  area under the ROC curve %.3f (95 %%: %.3f to %.3f, DeLong)\n", curve.auc, curve.auc_interval.low,
              curve.auc_interval.high);
  const auto of = [](std::int64_t part, std::int64_t total) { return str(part, " of ", total); };
  print("sensitivity", counts.sensitivity(), counts.sensitivity_interval(),
        of(counts.true_positives, counts.positives()).c_str());
  print("specificity", counts.specificity(), counts.specificity_interval(),
        of(counts.true_negatives, counts.negatives()).c_str());
  print("PPV", counts.precision(), counts.precision_interval(), "where as many are ill as here");
  print("NPV", counts.negative_predictive_value(), counts.negative_predictive_value_interval(),
        "where as many are ill as here");
  if (patients_of(*parts.test).size() < judging.score.size() && !seen.empty())
    std::printf("Some patients have several pictures, which are alike: true intervals are wider.\n");

  make_folders(out);
  save(model, out + "/model.fovea");
  write_file(out + "/roc.svg", roc_svg(curve, {{"chosen beforehand", counts}}, "Not for clinical use: " + *at));
  write_file(out + "/confusion.svg", confusion_svg({{counts.true_negatives, counts.false_positives},
                                                    {counts.false_negatives, counts.true_positives}},
                                                   {"other", *at}, {.title = "Not for clinical use"}));
  std::printf("%s holds model.fovea, roc.svg, confusion.svg\n%s\n", out.c_str(), kNotice);
}

}  // namespace

int main(int argc, char** argv) { return examples::run_example(argc, argv, kUsage, run); }
