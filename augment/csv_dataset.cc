// CSV manifests: the parser (RFC 4180) and the dataset.
#include "augment/csv_dataset.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "augment/files_internal.h"
#include "core/error.h"
#include "core/io/file.h"

namespace fovea {

std::vector<CsvRecord> parse_csv(std::string_view text, const std::string& name) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::vector<CsvRecord> records;
  std::int64_t line = 1;
  const auto fail = [&](std::int64_t at, const char* what) {
    return Error(ErrorKind::format, str(name, ":", at), what);
  };
  std::size_t i = 0;
  // At the end of a line: its length, else 0. A lone CR is text.
  const auto line_end = [&]() -> std::size_t {
    if (text[i] == '\n') return 1;
    return text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n' ? 2 : 0;
  };
  while (i < text.size()) {
    if (const std::size_t end = line_end()) {  // an empty line
      i += end;
      ++line;
      continue;
    }
    CsvRecord record{line, {}};
    for (bool more = true; more;) {
      std::string field;
      if (i < text.size() && text[i] == '"') {
        const std::int64_t opened = line;
        ++i;
        for (;; ++i) {
          if (i >= text.size()) throw fail(opened, "a quote is opened here and never closed");
          if (text[i] == '"') {
            if (i + 1 >= text.size() || text[i + 1] != '"') break;
            ++i;  // a doubled quote stands for one
          }
          if (text[i] == '\0') throw fail(line, "a NUL byte; this is no text file");
          line += text[i] == '\n';
          field += text[i];
        }
        ++i;
        if (i < text.size() && text[i] != ',' && line_end() == 0) throw fail(line, "text after a closing quote");
      } else {
        for (; i < text.size() && text[i] != ',' && line_end() == 0; ++i) {
          if (text[i] == '"')
            throw fail(line, "a quote inside a field that does not begin with one (double it and quote the field)");
          if (text[i] == '\0') throw fail(line, "a NUL byte; this is no text file");
          field += text[i];
        }
      }
      record.fields.push_back(std::move(field));
      more = i < text.size() && text[i] == ',';
      if (more) ++i;
    }
    records.push_back(std::move(record));
    if (i < text.size()) {
      i += line_end();
      ++line;
    }
  }
  return records;
}

struct CsvDataset::State {
  CsvOptions options;
  std::string folder;
  std::vector<std::string> class_names, parts;
  std::vector<double> class_weights;
  struct Item {
    std::string path, group;
    std::int64_t label;
  };
  std::vector<Item> items;
};

namespace {

/// Whole numbers sort by value, so that class 10 comes after 9; anything else by bytes.
std::vector<std::string> sorted_classes(const std::set<std::string>& names) {
  std::vector<std::string> sorted(names.begin(), names.end());
  const bool numbers = std::all_of(sorted.begin(), sorted.end(), [](const std::string& s) {
    return s.size() <= 9 && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
  });
  if (numbers) {
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const std::string& a, const std::string& b) { return std::stol(a) < std::stol(b); });
  }
  return sorted;
}

constexpr std::size_t kNoColumn = ~std::size_t{0};

std::size_t find_column(const CsvRecord& header, const std::string& name, const std::string& manifest) {
  std::size_t found = kNoColumn;
  for (std::size_t i = 0; i < header.fields.size(); ++i) {
    std::string field = header.fields[i];
    field.erase(0, field.find_first_not_of(" \t"));
    field.erase(field.find_last_not_of(" \t") + 1);
    for (char& c : field) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    if (field != name) continue;
    if (found != kNoColumn)
      throw Error(ErrorKind::format, str(manifest, ":", header.line), str("two columns are called ", name));
    found = i;
  }
  return found;
}

}  // namespace

CsvDataset::CsvDataset(const std::string& manifest, const CsvOptions& options) {
  if (options.image_size < 0)
    throw Error(ErrorKind::usage, "CsvDataset", str("image_size = ", options.image_size, " is negative"));
  if (files::is_folder(manifest)) {
    throw Error(ErrorKind::file, manifest, "this is a folder, not a CSV manifest", "open it with ImageFolder");
  }
  const std::vector<std::uint8_t> bytes = read_file(manifest, std::uint64_t{1} << 30);
  const std::vector<CsvRecord> records =
      parse_csv(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()), manifest);
  if (records.empty())
    throw Error(ErrorKind::format, manifest, "the file is empty", "its first line should be: path,label");

  const CsvRecord& header = records.front();
  const std::size_t path_column = find_column(header, "path", manifest),
                    label_column = find_column(header, "label", manifest);
  const std::size_t group_column = find_column(header, "group", manifest),
                    split_column = find_column(header, "split", manifest),
                    weight_column = find_column(header, "weight", manifest);
  if (path_column == kNoColumn || label_column == kNoColumn) {
    std::string columns;
    for (const std::string& field : header.fields) columns += str(columns.empty() ? "'" : ", '", field, "'");
    // Spreadsheets of many countries export semicolons.
    const bool other_separator =
        header.fields.size() == 1 && header.fields[0].find_first_of(";\t|") != std::string::npos;
    throw Error(ErrorKind::format, str(manifest, ":", header.line),
                str("the header has no column ", path_column == kNoColumn ? "path" : "label", "; it has ", columns),
                other_separator ? "separate the columns by commas" : "the first line should be: path,label");
  }
  if (!options.split.empty() && split_column == kNoColumn) {
    throw Error(ErrorKind::usage, manifest, str("has no column split to choose \"", options.split, "\" by"));
  }

  auto state = std::make_shared<State>();
  state->options = options;
  state->folder = std::filesystem::path(manifest).parent_path().string();
  std::set<std::string> names, parts;
  std::vector<const CsvRecord*> rows;
  for (std::size_t r = 1; r < records.size(); ++r) {
    const CsvRecord& row = records[r];
    const std::string where = str(manifest, ":", row.line);
    if (row.fields.size() != header.fields.size()) {
      throw Error(ErrorKind::format, where,
                  str("has ", row.fields.size(), " fields, the header has ", header.fields.size()),
                  "quote a field that contains a comma");
    }
    if (row.fields[path_column].empty()) throw Error(ErrorKind::format, where, "the path is empty");
    if (row.fields[label_column].empty()) throw Error(ErrorKind::format, where, "the label is empty");
    // Classes are those of all parts, so that train and val number them alike.
    names.insert(row.fields[label_column]);
    if (split_column != kNoColumn) parts.insert(row.fields[split_column]);
    if (options.split.empty() || row.fields[split_column] == options.split) rows.push_back(&row);
  }
  state->class_names = options.class_names.empty() ? sorted_classes(names) : options.class_names;
  state->parts.assign(parts.begin(), parts.end());
  std::map<std::string, std::int64_t> number;
  for (const std::string& name : state->class_names) number.emplace(name, static_cast<std::int64_t>(number.size()));
  if (number.size() != state->class_names.size())
    throw Error(ErrorKind::usage, "CsvDataset", "class_names holds a name twice");

  std::vector<double> weight_sum(state->class_names.size()), weight_count(weight_sum.size());
  for (const CsvRecord* row : rows) {
    const std::string where = str(manifest, ":", row->line);
    const auto label = number.find(row->fields[label_column]);
    if (label == number.end()) {
      throw Error(ErrorKind::usage, where,
                  str("label '", row->fields[label_column], "' is not among the ", number.size(), " known classes"));
    }
    State::Item item{row->fields[path_column], group_column == kNoColumn ? "" : row->fields[group_column],
                     label->second};
    if (options.check_files) {
      const std::string path = files::join(state->folder, item.path);
      if (files::is_folder(path)) throw Error(ErrorKind::file, where, str(path, " is a folder"));
      if (!files::exists(path)) {
        throw Error(ErrorKind::file, where, str("there is no file ", path),
                    "paths are relative to the manifest's folder");
      }
    }
    if (weight_column != kNoColumn) {
      const std::string& text = row->fields[weight_column];
      double weight = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), weight);
      if (error != std::errc() || end != text.data() + text.size() || !(weight > 0 && weight <= 1e6))
        throw Error(ErrorKind::format, where, str("the weight '", text, "' is no number above 0"));
      weight_sum[static_cast<std::size_t>(item.label)] += weight;
      ++weight_count[static_cast<std::size_t>(item.label)];
    }
    state->items.push_back(std::move(item));
  }
  if (state->items.empty()) {
    throw Error(
        ErrorKind::format, manifest,
        options.split.empty() ? "has a header but no rows" : str("has no row whose split is \"", options.split, "\""));
  }
  for (std::size_t k = 0; weight_column != kNoColumn && k < weight_sum.size(); ++k)
    state->class_weights.push_back(weight_count[k] > 0 ? weight_sum[k] / weight_count[k] : 1);
  state_ = std::move(state);
}

std::int64_t CsvDataset::size() const { return static_cast<std::int64_t>(state_->items.size()); }
image::Image CsvDataset::image(std::int64_t i) const { return image::read_image(name(i), state_->options.decode); }
std::int64_t CsvDataset::label(std::int64_t i) const { return state_->items.at(static_cast<std::size_t>(i)).label; }
const std::vector<std::string>& CsvDataset::class_names() const { return state_->class_names; }
std::string CsvDataset::name(std::int64_t i) const {
  return files::join(state_->folder, state_->items.at(static_cast<std::size_t>(i)).path);
}
std::string CsvDataset::group(std::int64_t i) const { return state_->items.at(static_cast<std::size_t>(i)).group; }
int CsvDataset::image_size() const { return state_->options.image_size; }
const std::vector<double>& CsvDataset::class_weights() const { return state_->class_weights; }
std::vector<std::string> CsvDataset::parts() const { return state_->parts; }

}  // namespace fovea
