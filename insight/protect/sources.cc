// Lists what is to be anonymised and names it.
#include "insight/protect/sources_internal.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include "augment/csv_dataset.h"
#include "augment/files_internal.h"
#include "core/error.h"
#include "core/io/file.h"

namespace fovea::insight {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxDepth = 64;

/// Links resolved as far as the path exists, so that two ways to one place compare equal.
fs::path real(const std::string& path) {
  std::error_code error;
  const fs::path result = fs::weakly_canonical(fs::absolute(path), error);
  fs::path plain = error ? fs::absolute(path).lexically_normal() : result;
  return plain.has_filename() ? plain : plain.parent_path();
}

bool lies_in(const fs::path& path, const fs::path& folder) {
  const auto [end, unused] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  return end == folder.end();
}

struct Scan {
  std::vector<Source> sources;
  std::map<std::string, std::int64_t>& left_out;
  std::set<fs::path> seen;

  void add(const std::string& path, const std::string& below) {
    if (seen.insert(real(path)).second) sources.push_back({path, below, {}, {}, {}, {}});
  }

  void walk(const std::string& folder, const std::string& below, std::vector<std::string>& ancestors) {
    const std::string canonical = files::canonical(folder);
    if (std::find(ancestors.begin(), ancestors.end(), canonical) != ancestors.end()) return;  // a link back up
    if (ancestors.size() >= kMaxDepth)
      throw Error(ErrorKind::file, folder, str("folders nested deeper than ", kMaxDepth));
    ancestors.push_back(canonical);
    for (const files::Entry& entry : files::list(folder)) {
      const std::string path = files::join(folder, entry.name);
      const std::string name = below.empty() ? entry.name : below + "/" + entry.name;
      if (entry.is_folder) {
        walk(path, name, ancestors);
      } else if (files::is_picture(entry.name)) {
        add(path, name);
      } else {
        ++left_out[files::lower_extension(entry.name)];
      }
    }
    ancestors.pop_back();
  }
};

double coordinate(const std::string& text, const std::string& where) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    throw Error(ErrorKind::format, where, str("'", text, "' is no number"), "expected path,x,y,w,h");
  return value;
}

/// Gives each box to its picture.
void assign_boxes(std::vector<Source>& sources, const std::vector<PictureBox>& boxes) {
  std::map<std::string, std::size_t> exact;
  std::map<std::string, std::vector<std::size_t>> by_name;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const fs::path path = sources[i].path;
    exact.emplace(path.lexically_normal().generic_string(), i);
    exact.emplace(real(sources[i].path).generic_string(), i);
    exact.emplace(sources[i].below, i);
    by_name[path.filename().string()].push_back(i);
  }
  for (const PictureBox& b : boxes) {
    auto found = exact.find(fs::path(b.picture).lexically_normal().generic_string());
    if (found == exact.end()) found = exact.find(real(b.picture).generic_string());
    if (found != exact.end()) {
      sources[found->second].boxes.push_back(b.box);
      continue;
    }
    const auto named = by_name.find(b.picture);
    if (named == by_name.end()) {
      throw Error(ErrorKind::usage, b.where, str("there is no picture '", b.picture, "' among those to anonymise"),
                  "what the box is meant to hide would stay visible; nothing was written");
    }
    if (named->second.size() > 1) {
      throw Error(
          ErrorKind::usage, b.where, str(named->second.size(), " pictures are called '", b.picture, "'"),
          str("write which: '", sources[named->second[0]].below, "' or '", sources[named->second[1]].below, "'"));
    }
    sources[named->second[0]].boxes.push_back(b.box);
  }
}

void give_name(Source& s, const std::string& input_name, const PseudonymKey& key, const AnonymizeOptions& o) {
  const fs::path below = s.below;
  fs::path folder = input_name;
  int level = 0;
  for (const fs::path& part : below.parent_path()) {
    const std::string name = part.string();
    folder /= level++ < o.keep_folders ? name : key.pseudonym("folder", name, 12);
  }
  s.folder = folder.generic_string();
  if (o.group_prefix > 0) {
    const std::string subject = below.stem().string().substr(0, static_cast<std::size_t>(o.group_prefix));
    s.group = key.pseudonym("subject", subject, 12);
    s.name = s.group + "_" + key.pseudonym("picture", s.below, 12);
  } else {
    s.name = key.pseudonym("picture", s.below);
  }
}

}  // namespace

void require_outside(const std::string& path, const std::string& folder, const std::string& what) {
  if (lies_in(real(path), real(folder))) {
    throw Error(ErrorKind::usage, path, str(what, " must not lie in the output folder"),
                "whoever gets that folder would get it too");
  }
}

std::vector<PictureBox> read_boxes(const std::string& path) {
  const std::vector<std::uint8_t> bytes = read_file(path, std::size_t{1} << 28);
  const std::vector<CsvRecord> records = parse_csv({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path);
  const std::vector<std::string> columns{"path", "x", "y", "w", "h"};
  const bool good = !records.empty() && records[0].fields.size() >= 5 && records[0].fields.size() <= 6 &&
                    std::equal(columns.begin(), columns.end(), records[0].fields.begin());
  if (!good)
    throw Error(ErrorKind::format, path, "expected a first line 'path,x,y,w,h' or one column more, for mask or blur");
  std::vector<PictureBox> boxes;
  for (std::size_t i = 1; i < records.size(); ++i) {
    const std::vector<std::string>& f = records[i].fields;
    const std::string where = str(path, ":", records[i].line);
    if (f.size() != records[0].fields.size())
      throw Error(ErrorKind::format, where,
                  str("has ", f.size(), " fields, the first line has ", records[0].fields.size()));
    PictureBox b{f[0],
                 {coordinate(f[1], where), coordinate(f[2], where), coordinate(f[3], where), coordinate(f[4], where)},
                 where};
    if (f.size() > 5 && !f[5].empty()) {
      if (f[5] != "mask" && f[5] != "blur")
        throw Error(ErrorKind::format, where, str("'", f[5], "' is neither mask nor blur"));
      b.box.how = concealment_from_string(f[5]);
    }
    boxes.push_back(std::move(b));
  }
  return boxes;
}

std::vector<Source> find_sources(const std::vector<std::string>& inputs, const std::string& out,
                                 const PseudonymKey& key, const AnonymizeOptions& options,
                                 std::map<std::string, std::int64_t>& left_out) {
  const fs::path target = real(out);
  int folders = 0;
  for (const std::string& input : inputs) {
    const fs::path source = real(input);
    if (!files::exists(input)) throw Error(ErrorKind::file, input, "there is no such file or folder");
    const bool folder = files::is_folder(input);
    folders += folder;
    if (lies_in(source, target))
      throw Error(ErrorKind::usage, input, str("lies in the output folder ", out), "choose another --out");
    if (folder && lies_in(target, source))
      throw Error(ErrorKind::usage, out, str("lies in ", input, ", whose pictures are to stay as they are"),
                  "choose a folder outside of it");
  }
  Scan scan{{}, left_out, {}};
  for (const std::string& input : inputs) {
    const std::size_t first = scan.sources.size();
    const bool folder = files::is_folder(input);
    if (folder) {
      std::vector<std::string> ancestors;
      scan.walk(input, "", ancestors);
    } else {
      scan.add(input, fs::path(input).filename().string());
    }
    const std::string input_name = folder && folders > 1 ? real(input).filename().string() : std::string();
    for (std::size_t i = first; i < scan.sources.size(); ++i) give_name(scan.sources[i], input_name, key, options);
  }
  if (scan.sources.empty())
    throw Error(ErrorKind::usage, inputs.empty() ? "anonymize" : inputs[0], "there are no pictures to anonymise");
  for (const Source& s : scan.sources) {
    if (lies_in(real(s.path), target))
      throw Error(ErrorKind::usage, s.path, str("is a link into the output folder ", out), "choose another --out");
  }
  assign_boxes(scan.sources, options.boxes);
  std::sort(scan.sources.begin(), scan.sources.end(), [](const Source& a, const Source& b) {
    return a.folder != b.folder ? a.folder < b.folder : a.name < b.name;
  });
  for (std::size_t i = 1; i < scan.sources.size(); ++i) {
    const Source &a = scan.sources[i - 1], &b = scan.sources[i];
    if (a.folder == b.folder && a.name == b.name) {
      throw Error(ErrorKind::usage, b.path, str("would get the same name as ", a.path),
                  "give the folder that holds both instead of single files");
    }
  }
  return std::move(scan.sources);
}

}  // namespace fovea::insight
