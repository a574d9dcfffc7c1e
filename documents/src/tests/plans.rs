//! Golden plans of the built-in documents and of ordinary documents of users.
//! Never updated without reading the difference: an agent in the field runs exactly this.

use expect_test::{Expect, expect};

use super::{bind, plan};
use crate::{Disposition, Document, PlanError, Platform, SkipReason, library};

fn check(actual: &str, expected: &Expect) {
    expected.assert_eq(actual);
}

fn built_in(name: &str, values: &[(&str, &[&str])]) -> String {
    plan(
        library::find(name).unwrap().default_version().content(),
        values,
    )
}

#[test]
fn run_shell_script() {
    check(
        &built_in(
            "AWS-RunShellScript",
            &[
                ("commands", &["echo '{{ executionTimeout }}'", "", "id -u"]),
                ("workingDirectory", &["/srv"]),
                ("executionTimeout", &["172800"]),
            ],
        ),
        &expect![[r#"
            {
              "schema": "1.2",
              "steps": [
                {
                  "name": "aws:runShellScript",
                  "action": "aws:runShellScript",
                  "timeout_seconds": 172800,
                  "on_failure": "Continue",
                  "on_success": "Continue",
                  "finally": false,
                  "disposition": {
                    "Run": {
                      "RunShellScript": {
                        "commands": [
                          "echo '{{ executionTimeout }}'",
                          "",
                          "id -u"
                        ],
                        "working_directory": "/srv",
                        "env": []
                      }
                    }
                  }
                }
              ]
            }"#]],
    );
}

#[test]
fn run_patch_baseline() {
    check(
        &built_in("AWS-RunPatchBaseline", &[("Operation", &["Scan"])]),
        &expect![[r#"
            {
              "schema": "2.2",
              "steps": [
                {
                  "name": "PatchLinux",
                  "action": "holdfast:patchBaseline",
                  "timeout_seconds": 7200,
                  "on_failure": "Continue",
                  "on_success": "Continue",
                  "finally": false,
                  "disposition": {
                    "Run": {
                      "PatchBaseline": {
                        "operation": "Scan",
                        "reboot_option": "RebootIfNeeded",
                        "snapshot_id": null,
                        "install_override_list": null,
                        "baseline_override": null,
                        "association_id": null
                      }
                    }
                  }
                }
              ]
            }"#]],
    );
}

#[test]
fn gather_software_inventory() {
    check(
        &built_in(
            "AWS-GatherSoftwareInventory",
            &[
                ("windowsUpdates", &["Disabled"]),
                ("windowsRoles", &["Disabled"]),
                ("billingInfo", &["Disabled"]),
                ("customInventory", &["Disabled"]),
                ("files", &[r#"[{"Path":"/etc","Pattern":["*.conf"]}]"#]),
            ],
        ),
        &expect![[r#"
            {
              "schema": "2.0",
              "steps": [
                {
                  "name": "collectSoftwareInventoryItems",
                  "action": "aws:softwareInventory",
                  "timeout_seconds": 3600,
                  "on_failure": "Continue",
                  "on_success": "Continue",
                  "finally": false,
                  "disposition": {
                    "Run": {
                      "SoftwareInventory": {
                        "types": [
                          "Application",
                          "AwsComponent",
                          "InstanceDetailedInformation",
                          "Network",
                          "Service"
                        ],
                        "files": "[{\"Path\":\"/etc\",\"Pattern\":[\"*.conf\"]}]",
                        "windows_registry": null
                      }
                    }
                  }
                }
              ]
            }"#]],
    );
}

#[test]
fn deploy_in_yaml() {
    check(
        &plan(
            include_str!("../../fixtures/deploy.yaml"),
            &[("Version", &["1.20.3"]), ("Message", &["\"; rm -rf / #"])],
        ),
        &expect![[r#"
            {
              "schema": "2.2",
              "steps": [
                {
                  "name": "prepare",
                  "action": "aws:runShellScript",
                  "timeout_seconds": 120,
                  "on_failure": "Exit",
                  "on_success": "Continue",
                  "finally": false,
                  "disposition": {
                    "Run": {
                      "RunShellScript": {
                        "commands": [
                          "set -eu",
                          "install -d -m 0750 data",
                          "docker ps --format '{{.Names}}' 1.20.3",
                          "for service in [\"gateway\",\"relay\"]; do\n  echo \"$service\"\ndone\n"
                        ],
                        "working_directory": "/srv/gateway",
                        "env": [
                          [
                            "SSM_Message",
                            "\"; rm -rf / #"
                          ]
                        ]
                      }
                    }
                  }
                },
                {
                  "name": "prepareWindows",
                  "action": "aws:runPowerShellScript",
                  "timeout_seconds": 3600,
                  "on_failure": "Continue",
                  "on_success": "Continue",
                  "finally": false,
                  "disposition": {
                    "Skip": "Precondition"
                  }
                },
                {
                  "name": "switch",
                  "action": "aws:runShellScript",
                  "timeout_seconds": 60,
                  "on_failure": "Continue",
                  "on_success": "Exit",
                  "finally": false,
                  "disposition": {
                    "Run": {
                      "RunShellScript": {
                        "commands": [
                          "gateway",
                          "relay",
                          "echo '{\"memory\":\"64M\",\"restarts\":3}'",
                          "logger \"${SSM_Message}\""
                        ],
                        "working_directory": null,
                        "env": [
                          [
                            "SSM_Message",
                            "\"; rm -rf / #"
                          ]
                        ]
                      }
                    }
                  }
                },
                {
                  "name": "report",
                  "action": "aws:runShellScript",
                  "timeout_seconds": 3600,
                  "on_failure": "Continue",
                  "on_success": "Continue",
                  "finally": true,
                  "disposition": {
                    "Run": {
                      "RunShellScript": {
                        "commands": [
                          "echo done"
                        ],
                        "working_directory": null,
                        "env": [
                          [
                            "SSM_Message",
                            "\"; rm -rf / #"
                          ]
                        ]
                      }
                    }
                  }
                }
              ]
            }"#]],
    );
}

#[test]
fn restart_service_in_schema_1_2() {
    check(
        &plan(
            include_str!("../../fixtures/restart-service.json"),
            &[("service", &["ssh"])],
        ),
        &expect![[r#"
            {
              "schema": "1.2",
              "steps": [
                {
                  "name": "0.aws:runShellScript",
                  "action": "aws:runShellScript",
                  "timeout_seconds": 30,
                  "on_failure": "Continue",
                  "on_success": "Continue",
                  "finally": false,
                  "disposition": {
                    "Run": {
                      "RunShellScript": {
                        "commands": [
                          "systemctl restart 'ssh'"
                        ],
                        "working_directory": null,
                        "env": []
                      }
                    }
                  }
                },
                {
                  "name": "1.aws:runShellScript",
                  "action": "aws:runShellScript",
                  "timeout_seconds": 3600,
                  "on_failure": "Continue",
                  "on_success": "Continue",
                  "finally": false,
                  "disposition": {
                    "Run": {
                      "RunShellScript": {
                        "commands": [
                          "journalctl -n 20 -u 'ssh'"
                        ],
                        "working_directory": null,
                        "env": []
                      }
                    }
                  }
                }
              ]
            }"#]],
    );
}

#[test]
fn cross_platform() {
    check(
        &plan(include_str!("../../fixtures/cross-platform.json"), &[]),
        &expect![[r#"
            {
              "schema": "2.2",
              "steps": [
                {
                  "name": "onWindows",
                  "action": "aws:runPowerShellScript",
                  "timeout_seconds": 3600,
                  "on_failure": "Continue",
                  "on_success": "Continue",
                  "finally": false,
                  "disposition": {
                    "Skip": "Precondition"
                  }
                },
                {
                  "name": "onLinux",
                  "action": "aws:runShellScript",
                  "timeout_seconds": 3600,
                  "on_failure": "Continue",
                  "on_success": "Continue",
                  "finally": false,
                  "disposition": {
                    "Run": {
                      "RunShellScript": {
                        "commands": [
                          "hostname -f"
                        ],
                        "working_directory": null,
                        "env": []
                      }
                    }
                  }
                },
                {
                  "name": "packages",
                  "action": "aws:softwareInventory",
                  "timeout_seconds": 3600,
                  "on_failure": "Continue",
                  "on_success": "Continue",
                  "finally": false,
                  "disposition": {
                    "Run": {
                      "SoftwareInventory": {
                        "types": [
                          "Application"
                        ],
                        "files": null,
                        "windows_registry": null
                      }
                    }
                  }
                }
              ]
            }"#]],
    );
}

#[test]
fn a_step_without_precondition_is_skipped_where_its_action_does_not_exist() {
    let document = Document::parse(
        r#"{"schemaVersion": "2.2", "mainSteps": [
            {"name": "a", "action": "aws:runPowerShellScript", "inputs": {"runCommand": ["x"]}}]}"#,
    )
    .unwrap();
    let plan = document
        .plan(&bind(&document, &[]), Platform::Linux)
        .unwrap();
    let Disposition::Skip(reason @ SkipReason::Platform { .. }) = &plan.steps[0].disposition else {
        panic!("{plan:?}");
    };
    assert_eq!(
        reason.to_string(),
        "aws:runPowerShellScript does not run on Linux"
    );
}

#[test]
fn a_schema_without_preconditions_is_refused_where_a_step_cannot_run() {
    let document = library::find("AWS-RunShellScript")
        .unwrap()
        .default_version()
        .document()
        .unwrap();
    let bound = bind(&document, &[("commands", &["x"])]);
    let error = document.plan(&bound, Platform::Windows).unwrap_err();
    assert_eq!(
        error.to_string(),
        "step 'aws:runShellScript': aws:runShellScript does not run on Windows, \
         and schema 1.2 cannot skip a step"
    );
}

#[test]
fn a_supplied_value_that_an_input_does_not_take_is_refused_with_the_input() {
    let document = Document::parse(
        r#"{"schemaVersion": "2.2",
            "parameters": {"seconds": {"type": "String"}},
            "mainSteps": [{"name": "a", "action": "aws:runShellScript",
                "inputs": {"runCommand": ["x"], "timeoutSeconds": "{{ seconds }}"}}]}"#,
    )
    .unwrap();
    let on = |seconds: &str| {
        let bound = bind(&document, &[("seconds", &[seconds])]);
        document.plan(&bound, Platform::Linux)
    };
    assert_eq!(on("172800").unwrap().steps[0].timeout_seconds, 172_800);
    assert_eq!(on("").unwrap().steps[0].timeout_seconds, 3_600);
    for bad in ["0", "172801", "-1", "1.5", "secret"] {
        assert_eq!(
            on(bad).unwrap_err().to_string(),
            "mainSteps[0].inputs.timeoutSeconds: the supplied value is not allowed here; \
             allowed: whole seconds from 1 to 172800"
        );
    }
}

#[test]
fn a_plan_is_bounded_however_often_a_value_is_referred_to() {
    let text = format!(
        r#"{{"schemaVersion": "2.2", "parameters": {{"a": {{"type": "String"}}}},
            "mainSteps": [{{"name": "s", "action": "aws:runShellScript",
                "inputs": {{"runCommand": ["{}"]}}}}]}}"#,
        "{{a}}".repeat(10_000)
    );
    let document = Document::parse(text).unwrap();
    let bound = bind(&document, &[("a", &[&"x".repeat(60_000)])]);
    let error = document.plan(&bound, Platform::Linux).unwrap_err();
    assert!(
        matches!(error, PlanError::TooLarge { limit: 262_144, .. }),
        "{error}"
    );
}

#[test]
fn parameters_bound_to_another_document_are_refused() {
    let of = |name: &str| {
        library::find(name)
            .unwrap()
            .default_version()
            .document()
            .unwrap()
    };
    let (shell, inventory) = (of("AWS-RunShellScript"), of("AWS-GatherSoftwareInventory"));
    let error = shell
        .plan(&bind(&inventory, &[]), Platform::Linux)
        .unwrap_err();
    assert!(matches!(error, PlanError::NotBound { .. }), "{error}");
}

#[test]
fn every_version_in_the_library_is_valid_and_described() {
    let mut seen = String::new();
    for document in library::all() {
        for version in document.versions() {
            let told = document.describe(version).unwrap();
            let parameters: Vec<String> = told
                .parameters
                .iter()
                .map(|p| format!("{}:{}={:?}", p.name, p.kind, p.default_value.as_deref()))
                .collect();
            seen.push_str(&format!(
                "{} v{} (default {}, latest {}) {} {} {} {:?}\n  sha256 {}\n  {}\n",
                told.name,
                told.version,
                told.default_version,
                told.latest_version,
                told.document_type.as_str(),
                told.format.as_str(),
                told.schema,
                told.platform_types,
                told.hash,
                parameters.join(" "),
            ));
            assert!(told.description.is_some());
            assert!(told.name.parse::<crate::DocumentName>().is_ok());
        }
    }
    check(
        &seen,
        &expect![[r#"
        AWS-GatherSoftwareInventory v1 (default 1, latest 1) Policy JSON 2.0 [Linux, MacOS, Windows]
          sha256 70b17176a554fd92f37d23214a963484c61037390b6280c4f6d819aea286c60d
          applications:String=Some("Enabled") awsComponents:String=Some("Enabled") files:String=Some("") networkConfig:String=Some("Enabled") windowsUpdates:String=Some("Enabled") instanceDetailedInformation:String=Some("Enabled") services:String=Some("Enabled") windowsRegistry:String=Some("") windowsRoles:String=Some("Enabled") customInventory:String=Some("Enabled") billingInfo:String=Some("Enabled")
        AWS-RunPatchBaseline v1 (default 1, latest 1) Command JSON 2.2 [Linux]
          sha256 353e95898cabf2d12950e4aafaf0d69d8f5deb5a8e7e37814f71d31d3fb6fa2e
          Operation:String=None AssociationId:String=Some("") SnapshotId:String=Some("") InstallOverrideList:String=Some("") BaselineOverride:String=Some("") RebootOption:String=Some("RebootIfNeeded")
        AWS-RunShellScript v1 (default 1, latest 1) Command JSON 1.2 [Linux, MacOS]
          sha256 08874bd7191647e90d05f955aaa7db785a038aff72490dee36feeeb2ca3bacaf
          commands:StringList=None workingDirectory:String=Some("") executionTimeout:String=Some("3600")
    "#]],
    );
}
