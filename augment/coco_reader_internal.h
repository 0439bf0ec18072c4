// Internal: the part of a COCO Camera Traps file that this library uses, as tables. Not installed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace fovea::coco {

/// Texts as numbers from 0: an archive names each picture, place and burst many times.
class Names {
 public:
  std::uint32_t number(const std::string& text) {
    const auto [it, added] = numbers_.try_emplace(text, static_cast<std::uint32_t>(numbers_.size()));
    if (added) texts_.push_back(&it->first);
    return it->second;
  }
  std::size_t size() const { return texts_.size(); }
  const std::string& operator[](std::uint32_t number) const { return *texts_[number]; }

 private:
  std::unordered_map<std::string, std::uint32_t> numbers_;
  std::vector<const std::string*> texts_;  // keys of the map, which stay where they are
};

inline constexpr std::uint32_t kNone = ~std::uint32_t{0};

struct Image {
  std::string file_name;
  std::uint32_t id = kNone, location = kNone, sequence = kNone;
  bool corrupt = false;
};

struct Annotation {
  std::uint32_t image = kNone, category = kNone;
};

struct Category {
  std::string name;
  std::uint32_t id = kNone;
};

struct File {
  Names image_ids, category_ids, locations, sequences;
  std::vector<Image> images;
  std::vector<Annotation> annotations;
  std::vector<Category> categories;
};

/// Error{format} naming `name` and the place: bad JSON, nesting deeper than 64, wrong types, missing fields.
File parse(std::string_view text, const std::string& name);

}  // namespace fovea::coco
