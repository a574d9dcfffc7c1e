"""Says which packages miss a security update, by apt's own library: an independent oracle for tests.

It shares no code with the scan: versions, policy and origins are all libapt-pkg's (python3-apt).
Prints `name architecture version` of the highest missing version of each package.
"""

import apt_pkg

apt_pkg.init()
cache = apt_pkg.Cache(None)
policy = apt_pkg.Policy(cache)
policy.read_pinfile(apt_pkg.config.find_file("Dir::Etc::preferences"))
policy.read_pindir(apt_pkg.config.find_dir("Dir::Etc::preferencesparts"))
policy.init_defaults()
sources = apt_pkg.SourceList()
sources.read_main_list()


def is_security(version):
    for file, _ in version.file_list:
        index = sources.find_index(file)
        if index is None or not index.is_trusted or not file.site:
            continue
        if "security" in file.archive or "security" in file.codename or file.label == "Debian-Security":
            return True
    return False


for package in cache.packages:
    current = package.current_ver
    if current is None:
        continue
    for version in package.version_list:
        priority = policy.get_priority(version)
        if apt_pkg.version_compare(version.ver_str, current.ver_str) <= 0:
            continue
        if priority < 1 or priority < policy.get_priority(current):
            continue
        if version.priority_str and is_security(version):
            print(package.name, version.arch, version.ver_str)
            break
