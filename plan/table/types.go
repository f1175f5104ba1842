package table

// GPT partition types that callers distinguish. Sources: UEFI 2.10 table 5.7;
// Microsoft, "PARTITION_INFORMATION_GPT"; Discoverable Partitions
// Specification (UAPI.2); gdisk's parttypes.cc.
const (
	GPTESP           = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	GPTMSR           = "E3C9E316-0B5C-4DB8-817D-F92DF00215AE"
	GPTBasicData     = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
	GPTWinRE         = "DE94BBA4-06D1-4D40-A16A-BFD50179D6AC"
	GPTLDMMetadata   = "5808C8AA-7E8F-42E0-85D2-E1E90434CFB3"
	GPTLDMData       = "AF9B60A0-1431-4F62-BC68-3311714A69AD"
	GPTStorageSpaces = "E75CAF8F-F680-4CEE-AFA3-B001E56EFC2D"
	GPTBIOSBoot      = "21686148-6449-6E6F-744E-656564454649"
	GPTPReP          = "9E1A2D38-C612-4316-AA26-8B49521E5A8B"
	GPTLinux         = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
	GPTLinuxLVM      = "E6D6D379-F507-44C2-A23C-238F2A3DF928"
	GPTLinuxRAID     = "A19D880F-05FC-4D3B-A006-743F0F84911E"
	GPTLinuxSwap     = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"
	GPTLinuxHome     = "933AC7E1-2EB4-4F13-B844-0E14E2AEF915"
	GPTLinuxSrv      = "3B8F8425-20E0-4F3B-907F-1A25A76F98E8"
	GPTLinuxVar      = "4D21B016-B534-45C2-A9FB-5C16E091FD2D"
	GPTLinuxBoot     = "BC13C2FF-59E6-4262-A352-B275FD6F7172"
	GPTLinuxLUKS     = "CA7D7CCB-63ED-4C53-861C-1742536059CC"
	GPTLinuxRootX86  = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
	GPTLinuxRootARM  = "B921B045-1DF0-41C3-AF44-4C6F280D3FAE"
)

// MBR partition types that callers distinguish.
const (
	MBRExtendedCHS   = "0x05"
	MBRNTFS          = "0x07" // exFAT and HPFS as well
	MBRExtendedLBA   = "0x0f"
	MBRWinRE         = "0x27"
	MBRPReP          = "0x41"
	MBRLDM           = "0x42"
	MBRLinuxSwap     = "0x82"
	MBRLinux         = "0x83"
	MBRExtendedLinux = "0x85"
	MBRLinuxLVM      = "0x8e"
	MBRProtective    = "0xee"
	MBRESP           = "0xef"
	MBRLinuxRAID     = "0xfd"
)

var gptNames = map[string]string{
	GPTESP:           "EFI system",
	GPTMSR:           "Microsoft reserved",
	GPTBasicData:     "Microsoft basic data",
	GPTWinRE:         "Windows recovery",
	GPTLDMMetadata:   "LDM metadata",
	GPTLDMData:       "LDM data",
	GPTStorageSpaces: "Storage Spaces",
	GPTBIOSBoot:      "BIOS boot",
	GPTPReP:          "PReP boot",
	GPTLinux:         "Linux file system",
	GPTLinuxLVM:      "Linux LVM",
	GPTLinuxRAID:     "Linux RAID",
	GPTLinuxSwap:     "Linux swap",
	GPTLinuxHome:     "Linux home",
	GPTLinuxSrv:      "Linux server data",
	GPTLinuxVar:      "Linux variable data",
	GPTLinuxBoot:     "Linux extended boot",
	GPTLinuxLUKS:     "Linux LUKS",
	GPTLinuxRootX86:  "Linux root (x86-64)",
	GPTLinuxRootARM:  "Linux root (ARM64)",

	"44479540-F297-41B2-9AF7-D131D5F0458A": "Linux root (x86)",
	"69DAD710-2CE4-4E3C-B16C-21A1D49ABED3": "Linux root (ARM)",
	"8484680C-9521-48C6-9C11-B0720656F69E": "Linux usr (x86-64)",
	"B0E01050-EE5F-4390-949A-9101B17104E9": "Linux usr (ARM64)",
	"2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5": "Linux root verity (x86-64)",
	"83BD6B9D-7F41-11DC-BE0B-001560B84F0F": "FreeBSD boot",
	"516E7CB5-6ECF-11D6-8FF8-00022D09712B": "FreeBSD swap",
	"516E7CB6-6ECF-11D6-8FF8-00022D09712B": "FreeBSD UFS",
	"516E7CBA-6ECF-11D6-8FF8-00022D09712B": "FreeBSD ZFS",
	"6A898CC3-1DD2-11B2-99A6-080020736631": "ZFS",
	"48465300-0000-11AA-AA11-00306543ECAC": "Apple HFS+",
	"7C3457EF-0000-11AA-AA11-00306543ECAC": "Apple APFS",
	"AA31E02A-400F-11DB-9590-000C2911D1B8": "VMware VMFS",
}

var mbrNames = map[string]string{
	MBRExtendedCHS:   "extended",
	MBRExtendedLBA:   "extended",
	MBRExtendedLinux: "extended",
	MBRNTFS:          "NTFS or exFAT",
	MBRWinRE:         "Windows recovery",
	MBRPReP:          "PReP boot",
	MBRLDM:           "LDM",
	MBRLinuxSwap:     "Linux swap",
	MBRLinux:         "Linux file system",
	MBRLinuxLVM:      "Linux LVM",
	MBRLinuxRAID:     "Linux RAID",
	MBRProtective:    "GPT protective",
	MBRESP:           "EFI system",

	"0x01": "FAT12",
	"0x04": "FAT16",
	"0x06": "FAT16",
	"0x0b": "FAT32",
	"0x0c": "FAT32",
	"0x0e": "FAT16",
	"0xa5": "FreeBSD",
	"0xa6": "OpenBSD",
	"0xa8": "Apple UFS",
	"0xaf": "Apple HFS+",
	"0xbf": "Solaris",
	"0xfb": "VMware VMFS",
}

// TypeName returns a partition type's name for people, or the type itself if it is not a
// common one.
func TypeName(kind Kind, typ string) string {
	names := mbrNames
	if kind == GPT {
		names = gptNames
	}
	if name, ok := names[typ]; ok {
		return name
	}
	return typ
}
