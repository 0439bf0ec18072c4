// Reads COCO Camera Traps JSON as a stream of events: archives of gigabytes would take many times that as a tree, and
// deep nesting costs nothing where no tree is built.
#include <array>
#include <nlohmann/json.hpp>

#include "augment/coco_reader_internal.h"
#include "core/error.h"

namespace fovea::coco {

namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 64;

enum class Section : std::uint8_t { other, images, annotations, categories };
enum class Field : std::uint8_t { other, id, file_name, location, sequence, corrupt, image_id, category_id, name };

struct FieldRule {
  Section section;
  const char* key;
  Field field;
};
constexpr std::array<FieldRule, 9> kFields = {{{Section::images, "id", Field::id},
                                               {Section::images, "file_name", Field::file_name},
                                               {Section::images, "location", Field::location},
                                               {Section::images, "seq_id", Field::sequence},
                                               {Section::images, "corrupt", Field::corrupt},
                                               {Section::annotations, "image_id", Field::image_id},
                                               {Section::annotations, "category_id", Field::category_id},
                                               {Section::categories, "id", Field::id},
                                               {Section::categories, "name", Field::name}}};

const char* name_of(Section section) {
  switch (section) {
    case Section::images: return "images";
    case Section::annotations: return "annotations";
    case Section::categories: return "categories";
    case Section::other: break;
  }
  return "";
}

class Reader final : public nlohmann::json_sax<Json> {
 public:
  explicit Reader(const std::string& name) : name_(name) {}

  File finish() {
    for (const Section section : {Section::images, Section::annotations, Section::categories}) {
      if (!seen_[static_cast<std::size_t>(section)]) {
        throw Error(ErrorKind::format, name_, str("has no \"", name_of(section), "\""),
                    "a COCO Camera Traps file is an object with the arrays images, annotations and categories");
      }
    }
    return std::move(file_);
  }

  bool null() override { return scalar("null", nullptr); }
  bool boolean(bool value) override {
    if (depth_ == 3 && skip_ == 0 && field_ == Field::corrupt) {
      image_.corrupt = value;
      return true;
    }
    return scalar("true or false", nullptr);
  }
  bool number_integer(number_integer_t value) override { return whole_number(std::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override { return whole_number(std::to_string(value)); }
  bool number_float(number_float_t, const string_t&) override { return scalar("a number with a fraction", nullptr); }
  bool string(string_t& value) override { return scalar("a string", &value); }
  bool binary(binary_t&) override { return true; }  // not in JSON text

  bool start_object(std::size_t) override {
    open();
    if (skip_ > 0) return true;
    if (depth_ == 2 && section_ != Section::other) expected_list("an object");
    if (depth_ == 3) {
      image_ = {};
      annotation_ = {};
      category_ = {};
    } else if (depth_ > 3 && field_ != Field::other) {
      wrong_type("an object");
    }
    if (depth_ == 2 || depth_ > 3) skip_ = depth_;
    return true;
  }
  bool end_object() override {
    if (depth_ == 3 && skip_ == 0) end_record();
    return close();
  }
  bool start_array(std::size_t) override {
    open();
    if (skip_ > 0) return true;
    if (depth_ == 1) not_an_object("a list");
    if (depth_ == 3) wrong_record("a list");
    if (depth_ > 3 && field_ != Field::other) wrong_type("a list");
    if (depth_ > 3 || section_ == Section::other) skip_ = depth_;
    return true;
  }
  bool end_array() override { return close(); }

  bool key(string_t& key) override {
    if (skip_ > 0) return true;
    if (depth_ == 1) {
      section_ = Section::other;
      for (const Section section : {Section::images, Section::annotations, Section::categories}) {
        if (key != name_of(section)) continue;
        bool& seen = seen_[static_cast<std::size_t>(section)];
        if (seen) throw Error(ErrorKind::format, name_, str("has \"", key, "\" twice"));
        seen = true;
        section_ = section;
        index_ = 0;
      }
    } else {
      field_ = Field::other;
      for (const FieldRule& rule : kFields) {
        if (rule.section == section_ && key == rule.key) field_ = rule.field;
      }
    }
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const Json::exception& error) override {
    // The parser quotes what it read, which may be anything.
    std::string reason = error.what();
    reason.erase(0, reason.find("] ") + 2);
    if (const std::size_t read = reason.find("; last read"); read != reason.npos) reason.resize(read);
    if (reason.size() > 160) reason.resize(160);
    for (char& c : reason) c = c < ' ' || c > '~' ? '?' : c;
    throw Error(ErrorKind::format, name_, str("is no valid JSON at byte ", position, ": ", reason));
  }

 private:
  void open() {
    if (++depth_ > kMaxDepth)
      throw Error(ErrorKind::format, name_, str("is nested deeper than ", kMaxDepth, " levels"));
  }
  bool close() {
    if (skip_ == depth_) skip_ = 0;
    --depth_;
    return true;
  }

  /// A value that is neither object nor list; `text` where it is a string.
  bool scalar(const char* what, const std::string* text) {
    if (skip_ > 0) return true;
    if (depth_ == 0) not_an_object(what);
    if (depth_ == 1 && section_ != Section::other) expected_list(what);
    if (depth_ == 2) wrong_record(what);
    if (depth_ != 3 || field_ == Field::other) return true;
    const bool absent = std::string_view(what) == "null";
    if (absent && (field_ == Field::location || field_ == Field::sequence || field_ == Field::corrupt)) return true;
    if (!text || field_ == Field::corrupt) wrong_type(what);
    set(*text);
    return true;
  }
  bool whole_number(const std::string& digits) {
    if (skip_ > 0 || depth_ != 3 || field_ == Field::other) return scalar("a number", nullptr);
    if (field_ == Field::corrupt) {  // 0 or 1 in files that were tables once
      image_.corrupt = digits != "0";
      return true;
    }
    if (field_ == Field::file_name || field_ == Field::name) wrong_type("a number");
    set(digits);
    return true;
  }

  void set(const std::string& text) {
    switch (field_) {
      case Field::id:
        if (section_ == Section::images) {
          image_.id = file_.image_ids.number(text);
        } else {
          category_.id = file_.category_ids.number(text);
        }
        break;
      case Field::file_name: image_.file_name = text; break;
      case Field::location: image_.location = file_.locations.number(text); break;
      case Field::sequence: image_.sequence = file_.sequences.number(text); break;
      case Field::image_id: annotation_.image = file_.image_ids.number(text); break;
      case Field::category_id: annotation_.category = file_.category_ids.number(text); break;
      case Field::name: category_.name = text; break;
      case Field::corrupt:
      case Field::other: break;
    }
  }

  void end_record() {
    const auto require = [&](bool there, const char* field) {
      if (!there) throw Error(ErrorKind::format, name_, str(here(), " has no ", field));
    };
    switch (section_) {
      case Section::images:
        require(image_.id != kNone, "id");
        require(!image_.file_name.empty(), "file_name");
        file_.images.push_back(std::move(image_));
        break;
      case Section::annotations:
        require(annotation_.image != kNone, "image_id");
        require(annotation_.category != kNone, "category_id");
        file_.annotations.push_back(annotation_);
        break;
      case Section::categories:
        require(category_.id != kNone, "id");
        require(!category_.name.empty(), "name");
        file_.categories.push_back(std::move(category_));
        break;
      case Section::other: break;
    }
    ++index_;
  }

  std::string here() const { return str(name_of(section_), "[", index_, "]"); }
  [[noreturn]] void not_an_object(const char* came) const {
    throw Error(ErrorKind::format, name_, str("begins with ", came, ", expected an object"),
                "a COCO Camera Traps file is an object with the arrays images, annotations and categories");
  }
  [[noreturn]] void expected_list(const char* came) const {
    throw Error(ErrorKind::format, name_, str(name_of(section_), " is ", came, ", expected a list"));
  }
  [[noreturn]] void wrong_record(const char* came) const {
    throw Error(ErrorKind::format, name_, str(here(), " is ", came, ", expected an object"));
  }
  [[noreturn]] void wrong_type(const char* came) const {
    const char* key = "";
    for (const FieldRule& rule : kFields) {
      if (rule.section == section_ && rule.field == field_) key = rule.key;
    }
    const char* expected = field_ == Field::file_name || field_ == Field::name ? "a string"
                           : field_ == Field::corrupt                          ? "true or false"
                                                                               : "a string or a whole number";
    throw Error(ErrorKind::format, name_, str(here(), ".", key, " is ", came, ", expected ", expected));
  }

  const std::string& name_;
  File file_;
  std::array<bool, 4> seen_{};
  int depth_ = 0, skip_ = 0;  // skip_: the depth of the value that is being passed over, 0 for none
  Section section_ = Section::other;
  Field field_ = Field::other;
  std::size_t index_ = 0;  // within the section
  Image image_;
  Annotation annotation_;
  Category category_;
};

}  // namespace

File parse(std::string_view text, const std::string& name) {
  Reader reader(name);
  Json::sax_parse(text.data(), text.data() + text.size(), &reader);
  return reader.finish();
}

}  // namespace fovea::coco
