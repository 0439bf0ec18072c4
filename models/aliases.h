// Other frameworks' spellings of architectures. Internal to models/.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "models/options.h"

namespace fovea::models {

struct Alias {
  std::string name;  ///< canonical, or what was asked for where no rule fits
  Options implied;   ///< what the spelling says: layout, variant, width, size
};
Alias canonical(const std::string& name);
/// Examples of other spellings, for listings.
std::vector<std::string> aliases_of(std::string_view canonical_name);

}  // namespace fovea::models
