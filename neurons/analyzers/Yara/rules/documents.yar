// SPDX-License-Identifier: AGPL-3.0-or-later
// Documents that act when they are opened.

rule Pdf_Runs_Script : document
{
    meta:
        description = "A PDF that runs JavaScript or a program when it is opened"
        level = "suspicious"
    strings:
        $open = "/OpenAction"
        $event = "/AA"
        $script = "/JavaScript"
        $short = "/JS"
        $launch = "/Launch"
    condition:
        uint32be(0) == 0x25504446 and any of ($open, $event) and any of ($script, $short, $launch)
}

rule Office_Macro_Starts_Itself : document macro
{
    meta:
        description = "An old Office document whose macro starts by itself"
        level = "suspicious"
    strings:
        $project = "_VBA_PROJECT" wide
        $start1 = "AutoOpen" nocase
        $start2 = "Document_Open" nocase
        $start3 = "Workbook_Open" nocase
        $start4 = "Auto_Open" nocase
    condition:
        uint32be(0) == 0xD0CF11E0 and $project and any of ($start*)
}

rule Office_Package_With_Macros : document macro
{
    meta:
        description = "A zipped Office document that brings macros along"
        level = "suspicious"
    strings:
        $macros = "vbaProject.bin"
        $types = "[Content_Types].xml"
    condition:
        uint32be(0) == 0x504B0304 and all of them
}
