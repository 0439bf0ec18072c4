// fovea audit: what is wrong with a data set, before anyone trains on it.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "augment/open.h"
#include "core/io/file.h"
#include "infer/compile/compile.h"
#include "insight/audit.h"
#include "insight/label_errors.h"
#include "insight/mitigate.h"
#include "tools/audit_model.h"
#include "tools/command.h"
#include "tools/data_source.h"
#include "tools/groups.h"
#include "tools/model_source.h"
#include "tools/progress.h"
#include "tools/report.h"
#include "tools/table.h"
#include "train/evaluation.h"

namespace fovea::tools {
namespace {

namespace fs = std::filesystem;

struct AuditArguments {
  Common common;
  std::string data, features, model, groups, out, mitigate;
  std::vector<std::string> mitigate_with;
  insight::MitigationOptions mitigation;
  int examples = 5, group_prefix = 0;
};

/// All readable pictures of all parts in a row, and their numbers in the audit.
std::pair<DatasetPtr, std::vector<std::int64_t>> readable(const std::vector<std::pair<std::string, DatasetPtr>>& parts,
                                                          const insight::Audit& audit) {
  std::vector<DatasetPtr> data;
  data.reserve(parts.size());
  for (const auto& [name, part] : parts) data.push_back(part);
  std::vector<std::int64_t> numbers;
  for (std::size_t i = 0; i < audit.pictures.size(); ++i) {
    if (audit.pictures[i].error.empty()) numbers.push_back(static_cast<std::int64_t>(i));
  }
  const DatasetPtr all = data.size() == 1 ? data[0] : concatenate(data);
  return {std::make_shared<Subset>(all, numbers), numbers};
}

void print(const insight::Audit& a, const AuditArguments& o) {
  std::vector<std::string> columns{"class"};
  for (const std::string& part : a.parts) columns.push_back((part.empty() ? "pictures" : part) + ">");
  Table table(columns);
  for (std::size_t k = 0; k < a.class_names.size(); ++k) {
    std::vector<std::string> row{a.class_names[k]};
    for (const auto& part : a.counts) row.push_back(grouped(part[k]));
    table.row(row);
  }
  table.print();
  std::printf("as many as %.1f evenly filled classes\n", a.effective_classes);
  if (a.findings.empty()) std::printf("\nnothing found\n");
  std::map<insight::FindingKind, int> shown;
  for (const insight::Finding& f : a.findings) {
    if (++shown[f.kind] > o.examples) continue;
    std::printf("%s %s: %s\n", f.serious ? "  !" : "   ", std::string(insight::to_string(f.kind)).c_str(),
                f.text.c_str());
  }
  for (const auto& [kind, count] : shown) {
    if (count > o.examples)
      std::printf("    %s: %d more (--examples, --out)\n", std::string(insight::to_string(kind)).c_str(),
                  count - o.examples);
  }
}

/// The readable pictures of each part; data in one piece is divided as `fovea train` would divide it.
std::vector<std::pair<std::string, DatasetPtr>> trained_parts(
    const std::vector<std::pair<std::string, DatasetPtr>>& parts, const insight::Audit& audit, const DatasetPtr& all,
    const std::vector<std::int64_t>& numbers, std::uint64_t seed) {
  if (parts.size() == 1 && parts[0].first.empty()) {
    const Splits divided = split(all, {.val = kValidationShare, .seed = seed});
    return {{"train", divided.train}, {"val", divided.val}};
  }
  std::vector<std::pair<std::string, DatasetPtr>> out;
  out.reserve(parts.size());
  for (const auto& [name, data] : parts) {
    std::vector<std::int64_t> rows;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      if (audit.pictures[static_cast<std::size_t>(numbers[i])].part == name)
        rows.push_back(static_cast<std::int64_t>(i));
    }
    out.emplace_back(name, std::make_shared<Subset>(all, rows));
  }
  return out;
}

/// Says what would even the classes out, and does it where a folder is named.
void mitigate(const AuditArguments& o, const std::string& path,
              const std::vector<std::pair<std::string, DatasetPtr>>& parts, const insight::Audit& audit,
              const DatasetPtr& all, const std::vector<std::int64_t>& numbers, ProgressBar& bar,
              nlohmann::ordered_json& json) {
  insight::MitigationOptions options = o.mitigation;
  if (!o.mitigate_with.empty()) options.kinds.clear();
  for (const std::string& kind : o.mitigate_with) options.kinds.push_back(insight::mitigation_from_string(kind));
  options.seed = o.common.seed;
  options.cancel = &catch_interrupts();
  options.on_progress = [&](std::int64_t done, std::int64_t total) {
    bar.update("making pictures", done, total, -1, "");
  };
  std::vector<std::pair<std::string, DatasetPtr>> divided = trained_parts(parts, audit, all, numbers, o.common.seed);
  if (divided.empty() || divided[0].first != "train" || divided[0].second->size() == 0) return;
  const std::vector<insight::ClassMitigation> plan =
      insight::plan_mitigation(audit.class_names, class_counts(*divided[0].second), options);
  const bool needed = std::any_of(plan.begin(), plan.end(),
                                  [](const auto& c) { return c.synthetic + c.repeated > 0 || c.weight != 1; });
  if (!needed && o.mitigate.empty()) return;
  nlohmann::ordered_json classes = nlohmann::ordered_json::array();
  for (const insight::ClassMitigation& c : plan)
    classes.push_back({{"class", c.name},
                       {"real", c.real},
                       {"synthetic", c.synthetic},
                       {"repeated", c.repeated},
                       {"weight", c.weight}});
  json["mitigation"] = {{"classes", classes}};
  if (!o.common.json) {
    std::printf("\n%s\n", o.mitigate.empty()
                              ? "to even the classes out (--mitigate FOLDER does it, without touching the originals):"
                              : "training pictures:");
    Table table({"class", "real>", "synthetic>", "repeated>", "weight>"});
    for (const insight::ClassMitigation& c : plan)
      table.row({c.name, grouped(c.real), grouped(c.synthetic), grouped(c.repeated), number(c.weight, "%.2f")});
    table.print();
  }
  if (o.mitigate.empty()) return;
  const fs::path inside = fs::weakly_canonical(o.mitigate).lexically_relative(fs::weakly_canonical(path));
  if (fs::is_directory(path) && !inside.empty() && *inside.begin() != "..")
    throw Error(ErrorKind::usage, o.mitigate, "lies within the data, where its pictures would be taken for originals",
                "name a folder beside the data");
  insight::write_mitigation(o.mitigate, divided, plan, options);
  bar.clear();
  const std::string manifest = (fs::path(o.mitigate) / "manifest.csv").string();
  json["mitigation"]["manifest"] = manifest;
  if (!o.common.json) std::printf("then: fovea train %s\n", manifest.c_str());
}

int run_audit(const AuditArguments& o) {
  apply_common(o.common);
  const std::string path = data_path(o.data);
  std::vector<std::pair<std::string, DatasetPtr>> parts;
  std::vector<std::string> names = available_splits(path);
  if (names.empty()) names.emplace_back();
  const Groups groups = o.groups.empty() ? Groups() : Groups::read(o.groups, path);
  parts.reserve(names.size());
  for (const std::string& name : names) {
    parts.emplace_back(name, regrouped(open_dataset(path, name, {.group_prefix = o.group_prefix}), groups));
  }
  insight::AuditOptions options;
  options.cancel = &catch_interrupts();
  ProgressBar bar(!o.common.quiet && !o.common.json);
  options.on_progress = [&](std::int64_t done, std::int64_t total) { bar.update("reading", done, total, -1, ""); };
  const insight::Audit audit = insight::audit(parts, options);
  bar.clear();
  auto json = nlohmann::ordered_json::parse(audit.to_json());
  if (!o.common.json) print(audit, o);
  const auto [all, numbers] = readable(parts, audit);
  if (!o.features.empty()) {
    ModelSource source;
    source.path = o.features;
    FeatureOptions computing;
    computing.cache = false;
    computing.cancel = &catch_interrupts();
    computing.on_batch = [&](std::int64_t done, std::int64_t total) { bar.update("features", done, total, -1, ""); };
    const Model model = open_model(source);
    computing.forward = infer::fast_forward(feature_network(model));
    const Features features = compute_features(model, all, computing);
    bar.clear();
    insight::LabelErrorOptions looking;
    looking.seed = o.common.seed;
    looking.cancel = &catch_interrupts();
    const insight::LabelErrors errors =
        insight::find_label_errors(features, static_cast<int>(audit.class_names.size()), looking);
    nlohmann::ordered_json& list = json["label_errors"] = nlohmann::ordered_json::array();
    if (!o.common.json)
      std::printf("\n%zu labels are probably wrong (cross-validated accuracy %s)\n", errors.likely.size(),
                  percent(errors.accuracy).c_str());
    int shown = 0;
    for (const std::int64_t i : errors.likely) {
      const insight::AuditPicture& p = audit.pictures[static_cast<std::size_t>(numbers[static_cast<std::size_t>(i)])];
      const std::string& suggested =
          audit.class_names[static_cast<std::size_t>(errors.suggested[static_cast<std::size_t>(i)])];
      list.push_back({{"picture", p.name},
                      {"label", audit.class_names[static_cast<std::size_t>(p.label)]},
                      {"suggested", suggested},
                      {"margin", errors.margin[static_cast<std::size_t>(i)]}});
      if (!o.common.json && shown++ < o.examples)
        std::printf("    %s: rather '%s'\n", p.name.c_str(), suggested.c_str());
    }
    if (!o.common.json && shown > o.examples) std::printf("    %d more (--examples, --out)\n", shown - o.examples);
  }
  if (!o.model.empty()) {
    ModelSource source;
    source.path = o.model;
    const Model model = open_model(source);
    EvaluateOptions evaluating;
    evaluating.cancel = &catch_interrupts();
    evaluating.forward = infer::fast_forward(model);
    // By pictures that training kept apart, where the data has such a part.
    const std::string part = judged_split(names);
    std::vector<std::int64_t> rows, pictures;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      if (!part.empty() && audit.pictures[static_cast<std::size_t>(numbers[i])].part != part) continue;
      rows.push_back(static_cast<std::int64_t>(i));
      pictures.push_back(numbers[i]);
    }
    const DatasetPtr judged = std::make_shared<Subset>(all, rows);
    const Evaluation result = evaluate(model, judged, evaluating);
    std::vector<insight::SliceAttribute> attributes = slice_attributes(*judged, groups);
    add_thirds(audit, pictures, attributes);
    const insight::SliceReport slices =
        insight::audit_slices(result.probabilities, result.labels, attributes, {.seed = o.common.seed});
    json["slices"] = to_json(slices, audit.class_names);
    json["slices"]["part"] = part;
    if (!o.common.json) {
      std::printf("\naccuracy of %s on %zu pictures%s%s: %s\n%s", o.model.c_str(), rows.size(),
                  part.empty() ? "" : ", part ", part.c_str(), percent(result.metrics.accuracy).c_str(),
                  slice_lines(slices, audit.class_names).c_str());
    }
  }
  mitigate(o, path, parts, audit, all, numbers, bar, json);
  const std::string text = json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  if (!o.out.empty()) write_file(o.out, text);
  if (o.common.json) std::printf("%s", text.c_str());
  return 0;
}

}  // namespace

void add_audit(CLI::App& app, Action& action) {
  auto o = std::make_shared<AuditArguments>();
  CLI::App* command = app.add_subcommand(
      "audit", "Look for what is wrong with a data set: balance, copies, leaks, shortcuts, wrong labels");
  command->footer(
      "Examples:\n"
      "  fovea audit photos                                          reads every picture once\n"
      "  fovea audit photos --features efficientnet_lite0            and names labels that are probably wrong\n"
      "  fovea audit photos --model runs/photos --groups sites.csv   and what a model serves worse\n"
      "  fovea audit photos --mitigate photos-even                   then: fovea train photos-even/manifest.csv\n\n"
      "DATA is what `fovea train` takes. Found are: pictures that cannot be read, classes that are missing or tiny, "
      "the same "
      "picture twice (also encoded anew or resized), in two parts or under two labels, groups in two parts, classes "
      "told "
      "by size, file type, border or mean colour alone, odd pictures. The pictures are never changed. `!` marks what "
      "makes a "
      "measured accuracy wrong or a class impossible to learn. The exit code is 0 whatever is found.");
  command->add_option("data", o->data, "The pictures")->required();
  command->add_option("--features", o->features,
                      "Pretrained network whose features judge the labels, by cross-validation");
  command->add_option(
      "--model", o->model,
      "Run or model whose accuracy, recall and calibration are compared between groups and between dark and "
      "bright, flat and rich, soft and sharp pictures");
  command->add_option(
      "--groups", o->groups,
      "CSV file with a first line path,group or path,NAME,NAME…: patient, camera, site, sex of pictures");
  command->add_option("--group-prefix", o->group_prefix, "The first so many letters of a file's name are its group")
      ->check(CLI::Range(0, 255));
  command->add_option("--out", o->out, "Write all findings to this JSON file");
  command->add_option("--examples", o->examples, "How many findings of a kind to print")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  const std::string group = "Classes with few pictures";
  command
      ->add_option(
          "--mitigate", o->mitigate,
          "Write a manifest for `fovea train` that evens classes out, and synthetic pictures, to this new folder")
      ->group(group);
  command
      ->add_option("--mitigate-with", o->mitigate_with,
                   "By what: weights, oversample, augment, mixup, paste, style (default: all but weights)")
      ->delimiter(',')
      ->check(CLI::IsMember({"weights", "oversample", "augment", "mixup", "paste", "style"}))
      ->group(group);
  command->add_option("--mitigate-share", o->mitigation.share, "Bring classes up to this share of the largest")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str()
      ->group(group);
  command
      ->add_option("--mitigate-most", o->mitigation.most,
                   "Synthetic pictures for each real one at most; what is missing then is repeated")
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str()
      ->group(group);
  add_common(*command, o->common);
  command->callback([&action, o] { action = [o] { return run_audit(*o); }; });
}

}  // namespace fovea::tools
