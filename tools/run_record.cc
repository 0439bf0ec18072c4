#include "tools/run_record.h"

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/io/file.h"
#include "core/rng.h"
#include "core/version.h"
#include "tools/model_source.h"
#include "tools/report.h"
#include "train/schedule.h"

namespace fovea::tools {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kFile = "run.json";

std::string absolute(const std::string& path) {
  std::error_code ignored;
  const fs::path whole = fs::absolute(path, ignored);
  return path.empty() || whole.empty() ? path : whole.lexically_normal().string();
}

std::string digest(const std::string& part, const Dataset& data) {
  std::uint64_t hash = 0;
  for (std::int64_t i = 0; i < data.size(); ++i)
    hash = detail::fnv1a64(str(hash, ' ', data.label(i), ' ', fs::path(data.name(i)).filename().string()));
  char text[24];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return str(part, ' ', data.size(), " pictures, ", text);
}

}  // namespace

std::vector<std::string> part_digests(const TrainData& data) {
  std::vector<std::string> out;
  for (const auto& [name, part] : {std::pair("train", data.train), {"val", data.val}, {"test", data.test}}) {
    if (part) out.push_back(digest(name, *part));
  }
  return out;
}

RunRecord describe_run(const TrainOptions& o, const TrainData& data, const Model& model, const TrainerOptions& t) {
  RunRecord r;
  r.options = o;
  r.parts = part_digests(data);
  r.recipe.emplace_back("network", describe(model));
  r.recipe.emplace_back("pictures", describe(model.preprocessing));
  r.recipe.emplace_back("starts from", o.weights.empty() ? "nothing (fresh weights)" : o.weights);
  if (o.linear_probe) {
    r.recipe.emplace_back("learns", "a linear classifier on the network's features");
  } else {
    if (!o.weights.empty()) r.recipe.emplace_back("learns", str("a linear probe first, then: ", o.unfreeze));
    r.recipe.emplace_back("optimizer", describe(t.optimizer));
    r.recipe.emplace_back("schedule", describe(t.schedule));
    r.recipe.emplace_back("epochs", str(o.epochs, ", ", o.batch_size, " pictures a step"));
    if (!o.batch_reason.empty()) r.recipe.emplace_back("batch size, chosen", o.batch_reason);
    if (o.precision != "f32") r.recipe.emplace_back("precision", o.precision);
    if (o.device != "cpu") r.recipe.emplace_back("device", o.device);
    r.recipe.emplace_back("augmentation", t.transforms.empty() ? "none" : to_string(t.transforms));
    r.recipe.emplace_back("label smoothing", number(std::max(0.0, o.label_smoothing), "%g"));
  }
  if (!data.class_weights.empty()) {
    std::string weights;
    for (const double w : data.class_weights) weights += str(weights.empty() ? "" : ", ", number(w, "%.3g"));
    r.recipe.emplace_back("class weights", weights);
  }
  if (o.balance != "none") r.recipe.emplace_back("classes of unequal size", o.balance);
  r.recipe.emplace_back("seed", str(o.common.seed));
  return r;
}

void write_run_record(const std::string& folder, const RunRecord& r) {
  const TrainOptions& o = r.options;
  Json json{{"fovea", kVersion},
            {"data", o.data == "fashion-mnist" ? o.data : absolute(o.data)},
            {"data_dir", absolute(o.data_dir)},
            {"seed", o.common.seed},
            {"val", o.val},
            {"group_prefix", o.group_prefix},
            {"image_size", o.image_size},
            {"limit", o.limit},
            {"parts", r.parts},
            {"recipe", Json::object()}};
  for (const auto& [what, how] : r.recipe) json["recipe"][what] = how;
  write_file((fs::path(folder) / kFile).string(), json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::optional<RunRecord> read_run_record(const std::string& folder) {
  const std::string path = (fs::path(folder) / kFile).string();
  if (!fs::exists(path)) return std::nullopt;
  const std::vector<std::uint8_t> bytes = read_file(path, std::size_t{1} << 20);
  try {
    const Json json = Json::parse(bytes.begin(), bytes.end());
    RunRecord r;
    r.options.data = json.at("data").get<std::string>();
    r.options.data_dir = json.at("data_dir").get<std::string>();
    r.options.common.seed = json.at("seed").get<std::uint64_t>();
    r.options.val = json.at("val").get<double>();
    r.options.group_prefix = json.at("group_prefix").get<int>();
    r.options.image_size = json.at("image_size").get<int>();
    r.options.limit = json.at("limit").get<std::int64_t>();
    r.parts = json.at("parts").get<std::vector<std::string>>();
    for (const auto& [what, how] : json.at("recipe").items()) r.recipe.emplace_back(what, how.get<std::string>());
    return r;
  } catch (const Json::exception& e) {
    throw Error(ErrorKind::format, path, str("is not what `fovea train` writes: ", e.what()),
                "name the pictures with --data instead, and move the file away");
  }
}

}  // namespace fovea::tools
