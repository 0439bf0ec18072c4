// fovea report: one page about a trained network, for people.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "augment/open.h"
#include "core/io/file.h"
#include "infer/compile/compile.h"
#include "insight/report/report.h"
#include "tools/answering.h"
#include "tools/audit_model.h"
#include "tools/command.h"
#include "tools/consent.h"
#include "tools/data_source.h"
#include "tools/groups.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/run_record.h"
#include "train/evaluation.h"
#include "train/run_log.h"

namespace fovea::tools {
namespace {

namespace fs = std::filesystem;

/// Above this many pictures, looking at each takes minutes.
constexpr std::int64_t kMostAudited = 20'000;

struct ReportArguments {
  Common common;
  std::string run, out, data, split, groups, card, write_card, positive;
  int group_prefix = 0;
  bool no_pictures = false, no_names = false, no_audit = false;
  insight::ReportOptions report;
  ConsentOptions consent;
};

/// The pictures that a report is about, and those that the network comes from.
struct Pictures {
  DatasetPtr judged, calibration;
  std::vector<std::pair<std::string, DatasetPtr>> parts;  ///< of the training, the judged ones among them
  std::size_t judged_part = 0;
  std::string description, caveat, calibration_name, folder;
};

std::string counted(std::int64_t n, const char* what) { return str(n, " ", what, n == 1 ? "picture" : "pictures"); }

/// Those that training kept apart.
Pictures of_run(const ReportArguments& o, const RunRecord& record) {
  TrainOptions training = record.options;
  if (o.group_prefix > 0) training.group_prefix = o.group_prefix;
  const TrainData data = open_data(training);
  Pictures out;
  out.folder = data_path(training.data, training.data_dir);
  if (data.train) out.parts.emplace_back("train", data.train);
  if (data.val) out.parts.emplace_back("val", data.val);
  if (data.test) out.parts.emplace_back("test", data.test);
  out.judged = data.test ? data.test : data.val;
  if (!out.judged)
    throw Error(ErrorKind::usage, o.run, "was trained without keeping pictures apart",
                "name pictures that it has not seen with --data");
  out.judged_part = out.parts.size() - 1;
  if (data.test) {
    out.description = counted(data.test->size(), "test ") + " that training never saw";
    if (data.val) {
      out.calibration = data.val;
      out.calibration_name = counted(data.val->size(), "validation ");
    }
  } else {
    out.description = counted(data.val->size(), "validation ") + " that it did not learn from";
    out.caveat =
        "These are validation pictures: the network did not learn from them, but choices may have been made by them "
        "(when to stop, which weights to "
        "keep), so that figures can be a little too good. Pictures of another time or place say more.";
  }
  if (part_digests(data) != record.parts)
    out.caveat = "The pictures have changed since the training: some of these may have been learnt from. " + out.caveat;
  return out;
}

/// Those that were named.
Pictures of_data(const ReportArguments& o, const std::vector<std::string>& class_names,
                 const std::optional<RunRecord>& record) {
  Pictures out;
  out.folder = data_path(o.data);
  const std::string split = !o.split.empty() ? o.split : judged_split(available_splits(out.folder));
  out.judged = open_dataset(out.folder, split, {.class_names = class_names, .group_prefix = o.group_prefix});
  const std::string name = last_name(out.folder).string();
  out.description = str(counted(out.judged->size(), ""), " of ", name, split.empty() ? "" : ", part ", split);
  if (record) {
    try {
      const TrainData data = open_data(record->options);
      if (data.train->class_names() == class_names) out.parts.emplace_back("train", data.train);
    } catch (const Error&) {  // the training's pictures are not here: nothing can be said of them
    }
  }
  if (out.parts.empty())
    out.caveat =
        "The pictures of the training are not at hand: whether some of these were among them has not been checked.";
  out.judged_part = out.parts.size();
  out.parts.emplace_back(split.empty() ? name : split, out.judged);
  return out;
}

std::vector<EpochRecord> read_epochs(const std::string& folder) {
  std::vector<EpochRecord> out;
  std::ifstream file(fs::path(folder) / "metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
    if (!json.is_object()) continue;  // a line that was cut off says nothing
    const auto value = [&](const char* key) {
      return json.contains(key) && json[key].is_number() ? json[key].get<double>()
                                                         : std::numeric_limits<double>::quiet_NaN();
    };
    EpochRecord e;
    if (!json.contains("epoch") || !json["epoch"].is_number_integer()) continue;
    e.epoch = json["epoch"].get<std::int64_t>();
    e.lr = value("lr");
    e.train_loss = value("train_loss");
    e.train_accuracy = value("train_accuracy");
    e.val_loss = value("val_loss");
    e.val_accuracy = value("val_accuracy");
    e.val_macro_f1 = value("val_macro_f1");
    e.seconds = value("seconds");
    e.images_per_s = value("images_per_s");
    e.best = json.contains("best") && json["best"].is_number() && json["best"].get<double>() != 0;
    out.push_back(e);
  }
  return out;
}

int class_number(const std::string& wanted, const std::vector<std::string>& names) {
  for (std::size_t k = 0; k < names.size(); ++k) {
    if (names[k] == wanted) return static_cast<int>(k);
  }
  std::string known;
  for (std::size_t k = 0; k < names.size() && k < 8; ++k) known += (k ? ", " : "") + names[k];
  throw Error(ErrorKind::usage, "--positive", str("no class is named '", wanted, "'"), known);
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  char text[32];
  return gmtime_r(&now, &utc) && std::strftime(text, sizeof text, "%d %B %Y", &utc) > 0 ? text + (text[0] == '0') : "";
}

int run_report(ReportArguments o) {
  apply_common(o.common);
  if (!o.write_card.empty()) {
    write_file(o.write_card, insight::ModelCard{}.to_json());
    std::printf("fill in %s and give it as --card\n", o.write_card.c_str());
    return 0;
  }
  if (o.run.empty()) throw Error(ErrorKind::usage, "report", "which run? name its folder");
  ModelSource source;
  source.path = o.run;
  if (is_compiled(source))
    throw Error(ErrorKind::usage, o.run, "is a compiled network, which cannot explain its answers",
                "name the run folder it was compiled from");
  const Model model = open_model(source);
  std::error_code failed;
  const bool is_folder = fs::is_directory(o.run, failed);
  const std::optional<RunRecord> record = is_folder ? read_run_record(o.run) : std::nullopt;
  if (o.data.empty() && !record)
    throw Error(ErrorKind::usage, o.run, "does not say which pictures it was trained on",
                "name pictures that it has not seen with --data");
  if (o.out.empty()) o.out = is_folder ? (fs::path(o.run) / "report.html").string() : "report.html";
  insight::ModelCard card;
  if (!o.card.empty()) {
    const std::vector<std::uint8_t> bytes = read_file(o.card, std::size_t{1} << 20);
    card = insight::ModelCard::from_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, o.card);
  }
  Pictures pictures = o.data.empty() ? of_run(o, *record) : of_data(o, model.class_names, record);
  if (!o.groups.empty()) {
    const Groups groups = Groups::read(o.groups, pictures.folder);
    for (auto& [name, part] : pictures.parts) part = regrouped(part, groups);
    pictures.judged = pictures.parts[pictures.judged_part].second;
    o.report.attributes = slice_attributes(*pictures.judged, groups);
  } else {
    o.report.attributes = slice_attributes(*pictures.judged, {});
  }
  check_consent(o.consent, insight::subjects_of({{"report", pictures.judged}}));

  ProgressBar bar(!o.common.quiet && !o.common.json);
  const CancelToken* cancel = &catch_interrupts();
  std::int64_t total = 0, first = 0;
  for (std::size_t p = 0; p < pictures.parts.size(); ++p) {
    if (p < pictures.judged_part) first += pictures.parts[p].second->size();
    total += pictures.parts[p].second->size();
  }
  std::optional<insight::Audit> audit;
  if (!o.no_audit && total <= kMostAudited) {
    insight::AuditOptions auditing;
    auditing.cancel = cancel;
    auditing.on_progress = [&](std::int64_t done, std::int64_t all) {
      bar.update("looking at pictures", done, all, -1, "");
    };
    audit = insight::audit(pictures.parts, auditing);
    // Where the pictures lie on this machine is nobody's business.
    const std::string folder = (fs::path(pictures.folder) / "").string();
    for (insight::Finding& finding : audit->findings) {
      for (std::size_t at = 0; (at = finding.text.find(folder, at)) != std::string::npos;)
        finding.text.erase(at, folder.size());
    }
    std::vector<std::int64_t> judged(static_cast<std::size_t>(pictures.judged->size()));
    std::iota(judged.begin(), judged.end(), first);
    add_thirds(*audit, judged, o.report.attributes);
  }
  insight::ReportOptions& options = o.report;
  options.cancel = cancel;
  options.seed = o.common.seed;
  options.pictures = !o.no_pictures;
  options.names = !o.no_names;
  if (!o.positive.empty()) options.positive = class_number(o.positive, model.class_names);
  options.on_progress = [&](const std::string& stage, std::int64_t done, std::int64_t all) {
    bar.update(stage, done, all, -1, "");
  };
  if (pictures.calibration) {
    EvaluateOptions evaluating;
    evaluating.skip_corrupt = options.skip_corrupt;
    evaluating.cancel = cancel;
    evaluating.forward = infer::fast_forward(model);
    const Evaluation other = evaluate(model, pictures.calibration, evaluating);
    options.calibration = {other.logits, other.labels};
    options.calibration_name = pictures.calibration_name;
  }
  if (options.title.empty()) options.title = last_name(fs::absolute(o.run)).stem().string();
  insight::Report report = insight::make_report(model, pictures.judged, options);
  bar.clear();
  report.card = card;
  report.date = today();
  report.judged = pictures.description;
  report.judged_caveat = pictures.caveat;
  report.audit = std::move(audit);
  report.recipe =
      record ? record->recipe : std::vector<std::pair<std::string, std::string>>{{"network", describe(model)}};
  if (is_folder) report.epochs = read_epochs(o.run);
  for (const auto& [name, part] : pictures.parts) report.parts.push_back({name, class_counts(*part)});
  std::error_code ignored;
  const auto bytes = fs::file_size(is_folder ? fs::path(o.run) / "model.fovea" : fs::path(o.run), ignored);
  report.cost.file_bytes = ignored ? 0 : static_cast<std::int64_t>(bytes);
  const std::string page = insight::to_html(report);
  write_file(o.out, page);
  if (o.common.json) {
    auto json = nlohmann::ordered_json::parse(to_json(report.metrics));
    json["report"] = o.out;
    json["bytes"] = page.size();
    std::printf("%s\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  } else {
    std::printf("%s: %s right (%s to %s)\nthe page: %s (%.1f MB)\n", report.judged.c_str(),
                percent(report.metrics.accuracy).c_str(), percent(report.metrics.accuracy_interval.low, 1).c_str(),
                percent(report.metrics.accuracy_interval.high, 1).c_str(), o.out.c_str(),
                static_cast<double>(page.size()) / 1e6);
  }
  return 0;
}

}  // namespace

void add_report(CLI::App& app, Action& action) {
  auto o = std::make_shared<ReportArguments>();
  CLI::App* command =
      app.add_subcommand("report", "Write one page about a trained network: results, mistakes, data, model card");
  command->footer(
      "Examples:\n"
      "  fovea report runs/birds                                     about the pictures that training kept apart\n"
      "  fovea report runs/birds --data photos-of-today --out today.html\n"
      "  fovea report runs/scans --groups scanners.csv --positive pneumonia --card card.json\n"
      "  fovea report --write-card card.json                         a model card to fill in\n\n"
      "The page is one HTML file that needs nothing else and connects to nowhere; it can be read on screen and on "
      "paper. It "
      "holds pictures from the data (--no-pictures) and their names (--no-names). --groups takes what `fovea audit` "
      "takes: "
      "accuracy, recall and calibration are then compared between groups.");
  command->add_option("run", o->run, "Run folder, model file, or weight file of another framework");
  command->add_option("-o,--out", o->out, "The page (default: report.html in the run folder)");
  command->add_option("--data", o->data, "Judge it by these pictures (default: what training kept apart)");
  command->add_option("--split", o->split, "Which part of --data: train, val or test");
  command->add_option("--groups", o->groups,
                      "CSV file with a first line path,NAME[,NAME…]: site, camera, sex, … of pictures");
  command->add_option("--group-prefix", o->group_prefix, "The first so many letters of a file's name are its group")
      ->check(CLI::Range(0, 255));
  command->add_option("--card", o->card, "Model card: JSON with intended_use, limits, data, consent, licence, …");
  command->add_option("--write-card", o->write_card, "Write an empty model card to fill in, and nothing else");
  command->add_option("--title", o->report.title, "Heading (default: the card's, or the run's name)");
  command->add_option("--positive", o->positive,
                      "Of two classes, that which decisions are about (default: the second)");
  command->add_option("--mistakes", o->report.mistakes, "So many pictures of each kind")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  command->add_option("--bootstrap", o->report.resamples, "Resamples for intervals; 0: none")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  command->add_option("--seconds", o->report.seconds, "For measuring speed; 0: not measured")
      ->check(CLI::Range(0.0, 60.0))
      ->capture_default_str();
  command->add_flag("--no-pictures", o->no_pictures, "Show no pictures");
  command->add_flag("--no-names", o->no_names, "Number pictures instead of naming them and their groups");
  command->add_flag(
      "--no-audit", o->no_audit,
      str("Do not look for problems in the pictures themselves (above ", kMostAudited, " it is left out anyway)"));
  command->add_option("--batch-size", o->report.batch_size, "Pictures per batch")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--workers", o->report.workers, "Threads that load pictures")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  command->add_flag("--skip-corrupt", o->report.skip_corrupt,
                    "Leave out pictures that cannot be read instead of stopping");
  add_consent_options(*command, o->consent);
  add_common(*command, o->common);
  command->callback([&action, o] { action = [o] { return run_report(*o); }; });
}

}  // namespace fovea::tools
