// Internal: what the parts of the audit share.
#pragma once

#include <vector>

#include "insight/audit.h"

namespace fovea::insight {

/// A number that a picture has without anyone knowing what it shows.
struct Property {
  const char* name;
  bool of_color;  ///< brightness and colours, which may be the subject
  double (*value)(const AuditPicture&);
};
const std::vector<Property>& properties();

void find_shortcuts(Audit& a, const AuditOptions& o);
void find_outliers(Audit& a);

}  // namespace fovea::insight
