// Pictures listed in a CSV manifest: path,label and, if wanted, group, split and weight.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "augment/dataset.h"
#include "image/decode.h"

namespace fovea {

/// One record of a CSV text with the line it begins on (from 1).
struct CsvRecord {
  std::int64_t line = 0;
  std::vector<std::string> fields;
};

/// CSV as RFC 4180: comma-separated; a field in double quotes may hold commas, line ends and doubled quotes; lines end
/// with LF or CRLF; a UTF-8 byte order mark is skipped, and so are empty lines. Text is kept byte for byte.
/// Error{format} "name:line": a quote that is never closed, text after a closing quote, a quote inside a plain field, a
/// NUL byte.
FOVEA_API std::vector<CsvRecord> parse_csv(std::string_view text, const std::string& name = "csv");

struct CsvOptions {
  std::vector<std::string>
      class_names;     ///< fixes classes and their order; empty: those in the file, numbers by value, else by bytes
  std::string split;   ///< takes only rows whose `split` column says this; empty: all rows
  int image_size = 0;  ///< Dataset::image_size
  bool check_files = true;  ///< look now whether every file exists, rather than when it is read
  image::DecodeOptions decode;
};

class FOVEA_API CsvDataset final : public Dataset {
 public:
  /// The first line names the columns, in any order: path and label, optionally group, split and weight; others are
  /// ignored. Paths are relative to the manifest's folder. Rows keep their order. Errors, with line numbers: file
  /// (missing manifest or picture), format (bad CSV, missing columns, wrong number of fields, empty path or label, a
  /// weight that is no number above 0, no rows), usage (a label outside class_names; split asked for but no such
  /// column).
  explicit CsvDataset(const std::string& manifest, const CsvOptions& options = {});

  std::int64_t size() const override;
  image::Image image(std::int64_t i) const override;
  std::int64_t label(std::int64_t i) const override;
  const std::vector<std::string>& class_names() const override;
  std::string name(std::int64_t i) const override;
  std::string group(std::int64_t i) const override;
  int image_size() const override;
  /// How much each class counts in training, [num_classes()]: the mean of the weight column over its rows; 1 for a
  /// class without rows. Empty without that column.
  const std::vector<double>& class_weights() const;
  /// The different values of the split column, sorted; empty without that column.
  std::vector<std::string> parts() const;
  Splits split(const SplitOptions& options = {}) const {
    return fovea::split(std::make_shared<CsvDataset>(*this), options);
  }

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace fovea
