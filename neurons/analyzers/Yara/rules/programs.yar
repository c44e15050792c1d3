// SPDX-License-Identifier: AGPL-3.0-or-later
// Programs and scripts.

rule Eicar_Test_File : test
{
    meta:
        description = "The EICAR test file, harmless, reported by every virus scanner"
        level = "malicious"
        reference = "https://www.eicar.org/download-anti-malware-testfile/"
    strings:
        // In pieces, so that this file is not taken for the test file.
        $body = { 45 49 43 41 52 2D 53 54 41 4E 44 41 52 44 2D 41 4E 54 49 56 49 52 55 53 }
        $head = { 58 35 4F 21 50 25 40 41 50 }
    condition:
        $head at 0 and $body and filesize < 256
}

rule Windows_Program_Packed_By_Upx : packer
{
    meta:
        description = "A Windows program packed by UPX"
        level = "info"
    strings:
        $first = "UPX0"
        $second = "UPX1"
    condition:
        uint16be(0) == 0x4D5A and all of them
}

rule PowerShell_Hidden_Command : script
{
    meta:
        description = "PowerShell is started with an encoded command or out of sight"
        level = "suspicious"
    strings:
        $name = "powershell" ascii wide nocase
        $encoded = /-e(nc|ncodedcommand|c)?\s+[A-Za-z0-9+\/]{40}/ ascii wide nocase
        $hidden = /-w(indowstyle)?\s+(hidden|1)/ ascii wide nocase
        $load = "DownloadString" ascii wide nocase
    condition:
        $name and 2 of ($encoded, $hidden, $load) or $name and $encoded
}
