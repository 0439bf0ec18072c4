// The sorted table of LevelDB, which a checkpoint's index is: blocks of prefix-compressed keys, each with a checksum,
// an index block that says where they are, and a footer that says where that is.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace fovea::weights::tensorflow {

using TableEntry = std::pair<std::string, std::span<const std::uint8_t>>;

/// All entries in the order of their keys. The values lie in `bytes`. Error{format} for a table that is damaged or
/// whose blocks are compressed.
std::vector<TableEntry> read_table(std::span<const std::uint8_t> bytes, const std::string& where);

}  // namespace fovea::weights::tensorflow
