// COCO Camera Traps files: from the file's tables to labelled pictures.
#include "augment/coco_dataset.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "augment/coco_reader_internal.h"
#include "augment/files_internal.h"
#include "core/error.h"
#include "core/io/file.h"

namespace fovea {

struct CocoDataset::State {
  CocoOptions options;
  std::string folder;
  std::vector<std::string> class_names, groups, warnings;
  struct Item {
    std::string path;  // below `folder`
    std::int64_t label;
    std::uint32_t group;  // into groups, or coco::kNone
  };
  std::vector<Item> items;
};

namespace {

using coco::kNone;

/// Pictures that are left out for one reason.
struct LeftOut {
  const char* reason;
  std::size_t count = 0;
  std::vector<std::string> some = {};

  void add(const std::string& file_name) {
    if (++count <= 3) some.push_back(file_name);
  }
  std::string to_string() const {
    std::string text = str(count, count == 1 ? " picture left out: " : " pictures left out: ", reason, " (");
    for (std::size_t i = 0; i < some.size(); ++i) text += str(i ? ", " : "", some[i]);
    return text + (count > some.size() ? ", …)" : ")");
  }
};

bool is_empty_class(const std::string& name) {
  constexpr std::string_view kEmpty = "empty";
  return std::equal(name.begin(), name.end(), kEmpty.begin(), kEmpty.end(),
                    [](char a, char b) { return (a >= 'A' && a <= 'Z' ? static_cast<char>(a + 32) : a) == b; });
}

/// Error{format} unless the path stays below the folder it is relative to.
void check_path(const std::string& path, const std::string& json, std::size_t index) {
  const auto fail = [&](const char* what) {
    throw Error(ErrorKind::format, json, str("images[", index, "].file_name ", what),
                "such files come from others, so paths must stay below their folder");
  };
  if (path.find('\0') != path.npos) fail("contains a NUL character");
  if (path.front() == '/') fail(str("is an absolute path: ", path).c_str());
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    if (std::string_view(path).substr(begin, end - begin) == "..") fail(str("leaves the folder by ..: ", path).c_str());
    begin = end + 1;
  }
}

/// Whole numbers first, by value; then by bytes.
bool id_less(const std::string& a, const std::string& b) {
  const auto number = [](const std::string& s) {
    return s.size() <= 9 && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  const bool na = number(a), nb = number(b);
  if (na != nb) return na;
  return na ? std::stol(a) < std::stol(b) : a < b;
}

/// The name of each category by the number of its id.
std::vector<const std::string*> category_names(const coco::File& file, const std::string& json) {
  std::vector<const std::string*> names(file.category_ids.size(), nullptr);
  for (const coco::Category& category : file.categories) {
    if (names[category.id]) {
      throw Error(ErrorKind::format, json, str("two categories have the id ", file.category_ids[category.id]));
    }
    names[category.id] = &category.name;
  }
  for (std::size_t i = 0; i < file.annotations.size(); ++i) {
    const std::uint32_t id = file.annotations[i].category;
    if (names[id]) continue;
    throw Error(ErrorKind::format, json,
                str("annotations[", i, "].category_id is ", file.category_ids[id], ", which is not among the ",
                    file.categories.size(), " categories"));
  }
  return names;
}

/// The category of each image by the number of its id: kNone where it has no annotation.
struct Label {
  std::uint32_t category = kNone;
  bool tie = false;
};

std::vector<Label> choose_labels(const coco::File& file, const std::vector<const std::string*>& names) {
  std::vector<coco::Annotation> sorted = file.annotations;
  std::sort(sorted.begin(), sorted.end(), [](const coco::Annotation& a, const coco::Annotation& b) {
    return std::pair(a.image, a.category) < std::pair(b.image, b.category);
  });
  std::vector<Label> labels(file.image_ids.size());
  for (std::size_t i = 0; i < sorted.size();) {
    const std::uint32_t image = sorted[i].image;
    Label& label = labels[image];
    std::size_t most = 0;
    bool animal = false;
    while (i < sorted.size() && sorted[i].image == image) {
      std::size_t end = i;
      while (end < sorted.size() && sorted[end].image == image && sorted[end].category == sorted[i].category) ++end;
      const bool here = !is_empty_class(*names[sorted[i].category]);
      const std::size_t count = end - i;
      if (here > animal || (here == animal && count > most)) {
        label = {sorted[i].category, false};
        most = count;
        animal = here;
      } else if (here == animal && count == most) {
        // Categories of one name are one class.
        label.tie = label.tie || *names[label.category] != *names[sorted[i].category];
      }
      i = end;
    }
  }
  return labels;
}

}  // namespace

CocoDataset::CocoDataset(const std::string& json, const CocoOptions& options) {
  if (options.image_size < 0)
    throw Error(ErrorKind::usage, "CocoDataset", str("image_size = ", options.image_size, " is negative"));
  if (files::is_folder(json)) {
    throw Error(ErrorKind::file, json, "this is a folder, not a COCO Camera Traps file", "open it with ImageFolder");
  }
  const auto mapped = MappedFile::open(json);
  const auto bytes = mapped->bytes();
  const coco::File file = coco::parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, json);
  const std::vector<const std::string*> names = category_names(file, json);
  const std::vector<Label> labels = choose_labels(file, names);

  auto state = std::make_shared<State>();
  state->options = options;
  state->folder = options.folder.empty() ? std::filesystem::path(json).parent_path().string() : options.folder;
  if (!options.folder.empty()) files::require_folder(options.folder, "it should hold the pictures that the file lists");
  CocoGroup group = options.group;
  if (group == CocoGroup::automatic) group = file.locations.size() > 0 ? CocoGroup::location : CocoGroup::sequence;

  LeftOut unlabelled{"without annotation, which is not the same as empty"},
      ambiguous{"several categories with equally many annotations"}, corrupt{"marked corrupt"},
      missing{"there is no such file"};
  std::vector<std::pair<const coco::Image*, std::uint32_t>> kept;
  std::vector<bool> seen(file.image_ids.size());
  std::size_t ungrouped = 0;
  for (std::size_t i = 0; i < file.images.size(); ++i) {
    const coco::Image& image = file.images[i];
    if (seen[image.id]) throw Error(ErrorKind::format, json, str("two images have the id ", file.image_ids[image.id]));
    seen[image.id] = true;
    check_path(image.file_name, json, i);
    const Label& label = labels[image.id];
    LeftOut* reason = image.corrupt             ? &corrupt
                      : label.category == kNone ? &unlabelled
                      : label.tie               ? &ambiguous
                                                : nullptr;
    if (!reason && options.check_files && !files::is_file(files::join(state->folder, image.file_name)))
      reason = &missing;
    if (reason) {
      reason->add(image.file_name);
      continue;
    }
    kept.emplace_back(&image, label.category);
  }
  std::string left_out;
  for (const LeftOut* reason : {&missing, &unlabelled, &ambiguous, &corrupt}) {
    if (reason->count == 0) continue;
    state->warnings.push_back(str(json, ": ", reason->to_string()));
    left_out += str(left_out.empty() ? "" : "; ", reason->to_string());
  }
  if (const auto strays = std::count_if(file.annotations.begin(), file.annotations.end(),
                                        [&](const coco::Annotation& a) { return !seen[a.image]; });
      strays > 0) {
    state->warnings.push_back(str(json, ": ", strays, " annotations of pictures that are not listed"));
  }
  if (kept.empty()) {
    throw Error(
        missing.count > 0 ? ErrorKind::file : ErrorKind::format, json,
        left_out.empty() ? "lists no pictures" : str("has no usable picture: ", left_out),
        missing.count > 0 ? str("file names are relative to ", state->folder.empty() ? "." : state->folder) : "");
  }

  state->class_names = options.class_names;
  if (state->class_names.empty()) {
    std::vector<std::uint32_t> used;
    used.reserve(kept.size());
    for (const auto& [image, category] : kept) used.push_back(category);
    std::sort(used.begin(), used.end());
    used.erase(std::unique(used.begin(), used.end()), used.end());
    std::sort(used.begin(), used.end(),
              [&](std::uint32_t a, std::uint32_t b) { return id_less(file.category_ids[a], file.category_ids[b]); });
    for (const std::uint32_t category : used) {
      const std::string& name = *names[category];
      if (std::find(state->class_names.begin(), state->class_names.end(), name) == state->class_names.end())
        state->class_names.push_back(name);
    }
  }
  std::map<std::string, std::int64_t> number;
  for (const std::string& name : state->class_names) number.emplace(name, static_cast<std::int64_t>(number.size()));
  if (number.size() != state->class_names.size())
    throw Error(ErrorKind::usage, "CocoDataset", "class_names holds a name twice");

  const coco::Names& groups = group == CocoGroup::location ? file.locations : file.sequences;
  for (std::uint32_t i = 0; i < groups.size() && group != CocoGroup::none; ++i) state->groups.push_back(groups[i]);
  for (const auto& [image, category] : kept) {
    const auto label = number.find(*names[category]);
    if (label == number.end()) {
      throw Error(ErrorKind::usage, json,
                  str("category '", *names[category], "' of ", image->file_name, " is not among the ", number.size(),
                      " known classes"));
    }
    const std::uint32_t in = group == CocoGroup::none       ? kNone
                             : group == CocoGroup::location ? image->location
                                                            : image->sequence;
    ungrouped += in == kNone;
    state->items.push_back({image->file_name, label->second, in});
  }
  if (ungrouped > 0 && !state->groups.empty()) {
    state->warnings.push_back(str(json, ": ", ungrouped, " pictures without ",
                                  group == CocoGroup::location ? "location" : "seq_id", " are divided one by one"));
  }
  state_ = std::move(state);
}

std::int64_t CocoDataset::size() const { return static_cast<std::int64_t>(state_->items.size()); }
image::Image CocoDataset::image(std::int64_t i) const { return image::read_image(name(i), state_->options.decode); }
std::int64_t CocoDataset::label(std::int64_t i) const { return state_->items.at(static_cast<std::size_t>(i)).label; }
const std::vector<std::string>& CocoDataset::class_names() const { return state_->class_names; }
std::string CocoDataset::name(std::int64_t i) const {
  return files::join(state_->folder, state_->items.at(static_cast<std::size_t>(i)).path);
}
std::string CocoDataset::group(std::int64_t i) const {
  const std::uint32_t group = state_->items.at(static_cast<std::size_t>(i)).group;
  return group == kNone ? std::string() : state_->groups[group];
}
int CocoDataset::image_size() const { return state_->options.image_size; }
std::vector<std::string> CocoDataset::warnings() const { return state_->warnings; }

}  // namespace fovea
