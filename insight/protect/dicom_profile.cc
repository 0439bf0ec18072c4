// The confidentiality profile's table, which is compiled in from its CSV file.
// made by insight/CMakeLists.txt from dicom_profile_2024e.csv
#include <dicom_profile_table.h>

#include "augment/csv_dataset.h"
#include "insight/protect/dicom.h"

namespace fovea::insight {

const std::vector<DicomProfileRow>& dicom_profile() {
  static const std::vector<DicomProfileRow> rows = [] {
    std::vector<DicomProfileRow> out;
    for (CsvRecord& record : parse_csv(kDicomProfileTable, "dicom_profile_2024e.csv")) {
      std::vector<std::string>& f = record.fields;
      if (f[0] != "tag") out.push_back({f[0], f[1], f[2], {f.begin() + 3, f.end()}});
    }
    return out;
  }();
  return rows;
}

std::string dicom_profile_edition() { return "2024e"; }

}  // namespace fovea::insight
