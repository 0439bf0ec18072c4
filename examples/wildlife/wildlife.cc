// Camera-trap pictures: places the cameras have not seen, an empty class, rare animals, and answers that may be
// "unsure".
#include <map>
#include <set>

#include "examples/common.h"

using namespace fovea;

namespace {

constexpr const char* kUsage = R"(usage: example_wildlife DATA [options]
  DATA            COCO Camera Traps .json (with `location`), CSV manifest with
                  the columns path,label,group, or a folder of class folders
  --images DIR    where the .json's file names begin (default: its own folder)
  --weights FILE  pretrained network; without it a small one learns from
                  nothing, which takes thousands of pictures
  --right SHARE   answers that should be right; pictures on which less is to be
                  expected become "unsure" (default 0.95)
  --epochs N      (default: about 9000 pictures in all)
  --limit N       uses so many pictures only, to try things out
  --seed N        (default 1)
  --out FOLDER    for the model, plots and predictions.csv
                  (default runs/wildlife)
)";

void describe(const char* name, const Dataset& part) {
  std::set<std::string> places;
  for (std::int64_t i = 0; i < part.size(); ++i) places.insert(part.group(i));
  places.erase("");
  std::printf("%-12s %5lld pictures of %3zu places:", name, static_cast<long long>(part.size()), places.size());
  const std::vector<std::int64_t> counts = class_counts(part);
  for (std::size_t c = 0; c < counts.size() && c < 4; ++c)
    std::printf(" %lld %s", static_cast<long long>(counts[c]), part.class_names()[c].c_str());
  std::printf(counts.size() > 4 ? " ...\n" : "\n");
}

void print(const char* name, const CoveragePoint& point) {
  const Interval interval = point.accuracy_interval();
  if (point.kept == 0) {
    std::printf("%-12s   0.0 %% answered\n", name);
    return;
  }
  std::printf("%-12s %5.1f %% answered, %5.1f %% of them right (95 %%: %.1f to %.1f)\n", name, 100 * point.coverage(),
              100 * point.accuracy(), 100 * interval.low, 100 * interval.high);
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

void run(examples::Arguments& arguments) {
  const std::string images = arguments.text("--images"), weights = arguments.text("--weights");
  const double right = arguments.number("--right", 0.95, 0, 1);
  const int epochs = arguments.whole("--epochs", 0, 1, 1000), limit = arguments.whole("--limit", 0, 10, 1 << 30);
  const auto seed = static_cast<std::uint64_t>(arguments.whole("--seed", 1, 0, 1 << 30));
  const std::string out = arguments.text("--out", "runs/wildlife");
  const std::string path = arguments.positional("DATA");
  arguments.done();

  // A network that has seen a place knows its stones and trees: only places that it has not seen tell how it will do
  // where the next camera stands. split() keeps the pictures of a place together.
  const Splits parts = images.empty()
                           ? examples::three_parts(path, {}, seed, limit)
                           : examples::three_parts(std::make_shared<CocoDataset>(path, CocoOptions{.folder = images}),
                                                   nullptr, seed, limit);
  describe("learning", *parts.train);
  describe("choosing", *parts.val);
  describe("judging", *parts.test);
  if (parts.train->group(0).empty()) std::printf("the data names no places: pictures of one may be in two parts\n");

  // Rare animals count as much as common ones: in the loss, and in the measure (macro F1) that chooses the epoch.
  const Model model = examples::starting_model(weights, *parts.train, seed);
  examples::EpochLines lines;
  examples::learn(model, !weights.empty(), parts.train, parts.val,
                  {.epochs = epochs,
                   .seed = seed,
                   .transforms = examples::gentle_changes(),
                   .balance = ClassBalance::weights,
                   .monitor = Monitor::val_macro_f1,
                   .observers = {&lines}});

  const Evaluation choosing = evaluate(model, parts.val, {.skip_corrupt = true});
  const Evaluation judging = evaluate(model, parts.test, {.skip_corrupt = true});
  std::printf("\n%-20s pictures  precision  recall     F1\n", "class");
  for (std::size_t c = 0; c < judging.metrics.classes.size(); ++c) {
    const ClassScore& s = judging.metrics.classes[c];
    std::printf("%-20.20s %8lld %9.1f %% %5.1f %% %6.3f\n", model.class_names[c].c_str(),
                static_cast<long long>(s.support), 100 * s.precision, 100 * s.recall, s.f1);
  }
  std::printf("macro F1 %.3f, accuracy %.1f %%\n", judging.metrics.macro_f1, 100 * judging.metrics.accuracy);

  // The confidence below which a person should look, chosen on other places than it is judged on.
  const auto chosen = choose_coverage(coverage_curve(choosing.probabilities, choosing.labels), right);
  const double threshold = chosen ? chosen->threshold : 1.0;
  const CoveragePoint kept = coverage_at(judging.probabilities, judging.labels, threshold);
  std::printf("\n\"unsure\" below a probability of %.3f, chosen for %.0f %% right answers:\n", threshold, 100 * right);
  if (!chosen) std::printf("(no threshold reaches that; only certainty is answered)\n");
  print("choosing", coverage_at(choosing.probabilities, choosing.labels, threshold));
  print("judging", kept);

  const std::size_t classes = model.class_names.size();
  std::vector<std::string> answers = model.class_names;
  answers.push_back("unsure");
  std::vector<std::vector<std::int64_t>> confusion;
  for (std::size_t c = 0; c < classes; ++c) confusion.emplace_back(classes + 1);
  std::string table = "path,place,label,answer,probability\n";
  const auto p = judging.probabilities.values<float>();
  for (std::size_t i = 0; i < judging.labels.size(); ++i) {
    const auto row = p.subspan(i * classes, classes);
    const auto best = static_cast<std::size_t>(std::max_element(row.begin(), row.end()) - row.begin());
    const std::size_t answer = row[best] >= threshold ? best : classes;
    ++confusion[static_cast<std::size_t>(judging.labels[i])][answer];
    table += str(quoted(parts.test->name(judging.indices[i])), ",", quoted(parts.test->group(judging.indices[i])), ",",
                 quoted(answers[static_cast<std::size_t>(judging.labels[i])]), ",", quoted(answers[answer]), ",",
                 static_cast<double>(row[best]), "\n");
  }
  make_folders(out);
  save(model, out + "/model.fovea");
  write_file(out + "/predictions.csv", table);
  write_file(out + "/coverage.svg", coverage_svg(coverage_curve(judging.probabilities, judging.labels), kept));
  write_file(out + "/confusion.svg", confusion_svg(confusion, model.class_names, {.columns = answers}));
  std::printf("%s holds model.fovea, predictions.csv, coverage.svg, confusion.svg\n", out.c_str());
}

}  // namespace

int main(int argc, char** argv) { return examples::run_example(argc, argv, kUsage, run); }
