// Reads packs. The file is hostile: every offset, size and product is checked against its real length when it is
// opened.
#include "augment/pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>

#include "augment/files_internal.h"
#include "augment/open.h"
#include "augment/pack_format_internal.h"
#include "augment/pack_source_internal.h"
#include "core/error.h"
#include "core/io/file.h"

namespace fovea {
namespace {

using Json = nlohmann::json;

constexpr std::uint32_t kMaxSide = 1 << 20;

[[noreturn]] void damaged(const std::string& path, std::string_view what) {
  throw Error(ErrorKind::format, path, str("damaged pack: ", what), "make it again with `fovea pack`");
}

}  // namespace

struct PackDataset::State {
  std::shared_ptr<MappedFile> file;
  std::vector<pack::Record> records;  // of the part
  std::span<const std::uint8_t> text;
  std::vector<std::string> class_names, parts;
  std::vector<double> class_weights;
  std::vector<std::int64_t> label_of;  // by the pack's numbers
  std::vector<std::string> warnings;
  PackRule rule;
  PackDatasetOptions options;

  std::string text_at(std::uint64_t begin, std::uint32_t bytes) const {
    return {reinterpret_cast<const char*>(text.data()) + begin, bytes};
  }
};

namespace {

/// What is said once.
struct About {
  std::vector<std::string> classes, parts;
  std::vector<double> class_weights;
  std::string source, digest;
  PackRule rule;
};

About about(const std::string& path, std::string_view text) {
  About a;
  try {
    const Json json = Json::parse(text);
    a.classes = json.at("classes").get<std::vector<std::string>>();
    a.parts = json.at("parts").get<std::vector<std::string>>();
    a.class_weights = json.at("class_weights").get<std::vector<double>>();
    a.source = json.at("source").get<std::string>();
    a.digest = json.at("source_sha256").get<std::string>();
    a.rule.shorter_side = json.at("shorter_side").get<int>();
    a.rule.width = json.at("width").get<int>();
    a.rule.height = json.at("height").get<int>();
    a.rule.filter = image::filter_from_string(json.at("filter").get<std::string>());
    a.rule.channels = json.at("channels").get<int>();
  } catch (const Json::exception&) {
    damaged(path, "what it says about itself is no JSON of a pack");
  } catch (const Error&) {
    damaged(path, "it names no filter");
  }
  if (a.classes.empty() || a.parts.empty()) damaged(path, "it has no classes");
  if (!a.class_weights.empty() && a.class_weights.size() != a.classes.size())
    damaged(path, "it does not have one weight for each class");
  for (const double w : a.class_weights) {
    if (!(std::isfinite(w) && w > 0)) damaged(path, "a class weight is not above 0");
  }
  return a;
}

/// Whether the data has changed; false where it cannot be found any more. Looks at nothing outside of the pack's
/// folder.
bool changed(const std::string& path, const About& a) {
  if (a.source.empty() || a.digest.empty()) return false;
  const std::string source = files::join(std::filesystem::path(path).parent_path().string(), a.source);
  if (!files::exists(source) || pack::below_folder_of(path, source).empty() || PackDataset::is_pack(source))
    return false;
  try {
    std::vector<PackPart> now;
    for (const std::string& part : a.parts) now.push_back({part, open_dataset(source, part)});
    return pack::source_digest(now) != a.digest;
  } catch (const Error&) {
    return true;  // it was good data when it was packed
  }
}

}  // namespace

bool PackDataset::is_pack(const std::string& path) {
  if (!files::is_file(path)) return false;
  char begin[sizeof(pack::Footer::magic)] = {};
  std::ifstream(path, std::ios::binary).read(begin, sizeof begin);
  return std::memcmp(begin, pack::kMagic, sizeof begin) == 0;
}

PackDataset::PackDataset(const std::string& path, const PackDatasetOptions& options) {
  auto state = std::make_shared<State>();
  state->options = options;
  state->file = MappedFile::open(path);
  const std::span<const std::uint8_t> bytes = state->file->bytes();
  constexpr std::size_t kMagicBytes = sizeof(pack::Footer::magic);
  if (bytes.size() < kMagicBytes || std::memcmp(bytes.data(), pack::kMagic, kMagicBytes) != 0)
    throw Error(ErrorKind::format, path, "is no pack", "make one with `fovea pack`");
  pack::Footer footer;
  if (bytes.size() < kMagicBytes + sizeof footer) damaged(path, "it ends too early");
  const std::uint64_t end = bytes.size() - sizeof footer;
  std::memcpy(&footer, bytes.data() + end, sizeof footer);
  if (std::memcmp(footer.magic, pack::kMagic, kMagicBytes) != 0) damaged(path, "its end is missing");
  const auto inside = [&](std::uint64_t begin, std::uint64_t size) { return begin <= end && size <= end - begin; };
  if (!inside(footer.json, footer.json_bytes) || !inside(footer.text, footer.text_bytes) ||
      footer.count > end / sizeof(pack::Record) || !inside(footer.records, footer.count * sizeof(pack::Record)))
    damaged(path, "a part of it lies outside of the file");
  const About a = about(
      path, {reinterpret_cast<const char*>(bytes.data()) + footer.json, static_cast<std::size_t>(footer.json_bytes)});
  state->text = bytes.subspan(footer.text, footer.text_bytes);
  state->class_weights = a.class_weights;
  state->rule = a.rule;
  for (const std::string& part : a.parts) {
    if (!part.empty()) state->parts.push_back(part);
  }

  state->class_names = options.class_names.empty() ? a.classes : options.class_names;
  for (const std::string& name : a.classes) {
    const auto at = std::find(state->class_names.begin(), state->class_names.end(), name);
    if (at == state->class_names.end()) {
      throw Error(ErrorKind::usage, path, str("holds the class '", name, "', which is not among the known ones"),
                  "it must have the classes that were learnt");
    }
    state->label_of.push_back(at - state->class_names.begin());
  }
  if (!options.class_names.empty()) state->class_weights.clear();  // in another order
  const auto part = std::find(a.parts.begin(), a.parts.end(), options.part);
  const auto wanted = static_cast<std::uint32_t>(part - a.parts.begin());
  if (!options.part.empty() && part == a.parts.end())
    throw Error(ErrorKind::usage, path, str("has no part \"", options.part, "\""));

  for (std::uint64_t i = 0; i < footer.count; ++i) {
    pack::Record r;
    std::memcpy(&r, bytes.data() + footer.records + i * sizeof r, sizeof r);
    if (r.width < 1 || r.width > kMaxSide || r.height < 1 || r.height > kMaxSide ||
        (r.channels != 1 && r.channels != 3))
      damaged(path, str("picture ", i, " is ", r.width, "x", r.height, " of ", r.channels, " channels"));
    if (!inside(r.pixels, std::uint64_t{r.width} * r.height * r.channels))
      damaged(path, str("picture ", i, " lies outside of the file"));
    if (r.label >= a.classes.size() || r.part >= a.parts.size())
      damaged(path, str("picture ", i, " is of a class or part that there is not"));
    if (r.name > footer.text_bytes || std::uint64_t{r.name_bytes} + r.group_bytes > footer.text_bytes - r.name)
      damaged(path, str("the name of picture ", i, " lies outside of the file"));
    if (options.part.empty() || r.part == wanted) state->records.push_back(r);
  }
  if (state->records.empty()) damaged(path, "it holds no pictures");
  if (options.check_source && changed(path, a))
    state->warnings.push_back(
        str(path, ": ", a.source, " has changed since it was packed; `fovea pack` makes it anew"));
  state_ = std::move(state);
}

std::int64_t PackDataset::size() const { return static_cast<std::int64_t>(state_->records.size()); }

image::Image PackDataset::image(std::int64_t i) const {
  const pack::Record& r = state_->records.at(static_cast<std::size_t>(i));
  const std::uint8_t* const begin = state_->file->bytes().data() + r.pixels;
  return {static_cast<int>(r.width), static_cast<int>(r.height), static_cast<int>(r.channels),
          std::vector<std::uint8_t>(begin, begin + std::size_t{r.width} * r.height * r.channels)};
}

std::int64_t PackDataset::label(std::int64_t i) const {
  return state_->label_of[state_->records.at(static_cast<std::size_t>(i)).label];
}
const std::vector<std::string>& PackDataset::class_names() const { return state_->class_names; }

std::string PackDataset::name(std::int64_t i) const {
  const pack::Record& r = state_->records.at(static_cast<std::size_t>(i));
  return state_->text_at(r.name, r.name_bytes);
}

std::string PackDataset::group(std::int64_t i) const {
  const pack::Record& r = state_->records.at(static_cast<std::size_t>(i));
  if (state_->options.group_prefix > 0) {
    const std::string path = name(i);
    return path.substr(path.rfind('/') + 1).substr(0, static_cast<std::size_t>(state_->options.group_prefix));
  }
  return state_->text_at(r.name + r.name_bytes, r.group_bytes);
}

int PackDataset::image_size() const { return state_->options.image_size; }
std::vector<std::string> PackDataset::warnings() const { return state_->warnings; }
const std::vector<std::string>& PackDataset::parts() const { return state_->parts; }
const std::vector<double>& PackDataset::class_weights() const { return state_->class_weights; }
const PackRule& PackDataset::rule() const { return state_->rule; }

}  // namespace fovea
