// Run folders as one HTML page that needs nothing else: no script, no font, no network.
#pragma once

#include <string>
#include <vector>

namespace mapl::report {

// Loss against tokens, bytes and time; the frontier of validation loss against bytes; energy kept;
// where each stage's time went; what the recipes differ in.
//   folders  Run folders that came to their end; named by what their paths do not have in common
//   ERRORS   UserError when one is not
std::string page(const std::vector<std::string>& folders);

}  // namespace mapl::report
