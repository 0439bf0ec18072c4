#include "tools/groups.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "augment/csv_dataset.h"
#include "core/error.h"
#include "core/io/file.h"

namespace fovea::tools {
namespace {

namespace fs = std::filesystem;

class Regrouped final : public Dataset {
 public:
  Regrouped(DatasetPtr data, Groups groups) : data_(std::move(data)), groups_(std::move(groups)) {}
  std::int64_t size() const override { return data_->size(); }
  image::Image image(std::int64_t i) const override { return data_->image(i); }
  std::int64_t label(std::int64_t i) const override { return data_->label(i); }
  const std::vector<std::string>& class_names() const override { return data_->class_names(); }
  std::string name(std::int64_t i) const override { return data_->name(i); }
  std::string group(std::int64_t i) const override { return groups_.group(data_->name(i)); }
  int image_size() const override { return data_->image_size(); }
  bool in_memory() const override { return data_->in_memory(); }
  std::vector<std::string> warnings() const override { return data_->warnings(); }

 private:
  DatasetPtr data_;
  Groups groups_;
};

}  // namespace

Groups Groups::read(const std::string& path, const std::string& data_folder) {
  const std::vector<std::uint8_t> bytes = read_file(path, std::size_t{1} << 28);
  const std::vector<CsvRecord> records = parse_csv({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
  if (records.empty() || records[0].fields.size() < 2 || records[0].fields[0] != "path")
    throw Error(ErrorKind::format, path, "expected a first line 'path,group' or 'path,NAME,NAME…'");
  Groups out;
  out.folder_ = data_folder;
  out.names_.assign(records[0].fields.begin() + 1, records[0].fields.end());
  std::set<std::string> different;
  for (const std::string& name : out.names_) {
    if (name.empty() || !different.insert(name).second)
      throw Error(ErrorKind::format, path, str("the column '", name, "' is named twice or not at all"));
  }
  const auto group = std::find(out.names_.begin(), out.names_.end(), "group");
  out.group_ = group == out.names_.end() ? 0 : static_cast<std::size_t>(group - out.names_.begin());
  for (std::size_t i = 1; i < records.size(); ++i) {
    const std::vector<std::string>& fields = records[i].fields;
    if (fields.size() != records[0].fields.size())
      throw Error(ErrorKind::format, str(path, ":", records[i].line),
                  str("expected ", records[0].fields.size(), " fields, found ", fields.size()));
    out.rows_[fields[0]] = {fields.begin() + 1, fields.end()};
  }
  return out;
}

const std::vector<std::string>* Groups::find(const std::string& picture) const {
  const fs::path path = picture;
  for (const std::string& key :
       {path.generic_string(), path.lexically_relative(folder_).generic_string(), path.filename().generic_string()}) {
    const auto found = rows_.find(key);
    if (found != rows_.end()) return &found->second;
  }
  return nullptr;
}

std::string Groups::group(const std::string& picture) const {
  const std::vector<std::string>* row = find(picture);
  return row ? (*row)[group_] : std::string();
}

std::vector<insight::SliceAttribute> Groups::attributes(const Dataset& data) const {
  std::vector<insight::SliceAttribute> out;
  for (const std::string& name : names_)
    out.push_back({name, std::vector<std::string>(static_cast<std::size_t>(data.size())), {}});
  for (std::int64_t i = 0; i < data.size(); ++i) {
    const std::vector<std::string>* row = find(data.name(i));
    for (std::size_t k = 0; row && k < out.size(); ++k) out[k].values[static_cast<std::size_t>(i)] = (*row)[k];
  }
  return out;
}

DatasetPtr regrouped(DatasetPtr data, const Groups& groups) {
  if (groups.empty() || !data) return data;
  return std::make_shared<Regrouped>(std::move(data), groups);
}

std::vector<insight::SliceAttribute> slice_attributes(const Dataset& data, const Groups& groups) {
  if (!groups.empty()) return groups.attributes(data);
  insight::SliceAttribute own{"group", {}, {}};
  std::set<std::string> different;
  for (std::int64_t i = 0; i < data.size(); ++i) {
    own.values.push_back(data.group(i));
    if (!own.values.back().empty()) different.insert(own.values.back());
  }
  const auto known = static_cast<std::size_t>(
      std::count_if(own.values.begin(), own.values.end(), [](const auto& v) { return !v.empty(); }));
  if (different.size() < 2 || 10 * different.size() > known) return {};
  return {own};
}

}  // namespace fovea::tools
