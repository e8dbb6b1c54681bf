/**
 * Which sections of a unified kernel image (UAPI.5) systemd-stub measures, and in which order (systemd,
 * docs/TPM2_PCR_MEASUREMENTS.md and src/fundamental/uki.c). The order is that of this table; a stub measures what its own
 * release knows and passes over the rest.
 */

export interface MeasuredSection {
  readonly name: string;
  /** Stubs of releases before this one pass over it. */
  readonly notBefore: number;
  /** Stubs from this release on measure it. What lies between the two was not found out and is refused. */
  readonly surelySince: number;
}

/** The first release that measures in this way, and whose sections a tool of its own computes. */
export const FIRST_RELEASE = 252;

const section = (name: string, notBefore = FIRST_RELEASE, surelySince = notBefore): MeasuredSection => ({
  name,
  notBefore,
  surelySince,
});

export const MEASURED_SECTIONS: readonly MeasuredSection[] = [
  section('.linux'),
  section('.osrel'),
  section('.cmdline'),
  section('.initrd'),
  section('.ucode', 256),
  section('.splash'),
  section('.dtb'),
  section('.uname', 253, 255),
  section('.sbat', 253, 255),
  section('.pcrpkey'),
  section('.profile', 257),
  section('.hwids', 257),
];

/**
 * Sections of which the stub picks one by the hardware that it finds: nobody can say beforehand which one is measured.
 */
export const SECTIONS_BY_HARDWARE: ReadonlySet<string> = new Set(['.dtbauto', '.efifw']);

/** Begins each profile of an image with several; what stands before the first belongs to all of them. */
export const PROFILE_SECTION = '.profile';

/** Holds signatures over the values that are computed here, and is the one section of the format that is not measured. */
export const SIGNATURE_SECTION = '.pcrsig';
