/** The parts of a boot beside images, on inputs that no machine has (docs/spec/tpm-reference.md, sections 3 and 4). */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { concatBytes, toHex, toUtf8 } from '../../../../attestation/core/bytes.ts';
import { RefusalError } from '../../../../attestation/core/refusal.ts';
import { UefiSignatureType, utf16Bytes } from '../../../../attestation/tpm/event-log/uefi-variable.ts';
import { expectBoot } from '../../../../attestation/tpm/reference/boot.ts';
import type { BootDescription } from '../../../../attestation/tpm/reference/boot.ts';
import { expectConfiguration } from '../../../../attestation/tpm/reference/firmware.ts';
import { expectGrubFiles, expectGrubLines } from '../../../../attestation/tpm/reference/grub.ts';
import {
  expectCommandLines,
  expectKernelInputs,
} from '../../../../attestation/tpm/reference/kernel-options.ts';
import { partitionTableEvent } from '../../../../attestation/tpm/reference/partition-table.ts';
import {
  databaseAuthority,
  efivarfsContent,
  expectSecureBoot,
} from '../../../../attestation/tpm/reference/secure-boot.ts';
import { sha256Bank as bank, signatureListBytes } from '../../../support/event-log-writer.ts';
import { refusalCode } from '../../../support/refusal-code.ts';

const digestsOf = (events: readonly { readonly digest: Uint8Array }[]): readonly string[] =>
  events.map(({ digest }) => toHex(digest));
const sha = (...parts: readonly Uint8Array[]): string => toHex(bank.digest(concatBytes(...parts)));

/** A disk of 64 KiB with entries in its second and fourth place. */
function disk(edit: (view: DataView) => void = () => undefined): Uint8Array {
  const bytes = new Uint8Array(64 * 1024);
  const view = new DataView(bytes.buffer);
  bytes.set(toUtf8('EFI PART'), 512);
  view.setUint32(512 + 8, 0x00010000, true);
  view.setUint32(512 + 12, 92, true);
  view.setBigUint64(512 + 24, 1n, true);
  view.setBigUint64(512 + 72, 2n, true);
  view.setUint32(512 + 80, 8, true);
  view.setUint32(512 + 84, 128, true);
  bytes.fill(1, 1024 + 128, 1024 + 256);
  bytes.fill(2, 1024 + 3 * 128, 1024 + 4 * 128);
  edit(view);
  return bytes;
}

describe('the partition table', () => {
  it('ER-13: is measured with the entries that are in use', () => {
    const event = partitionTableEvent(disk(), 512);
    const count = Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0);
    const entries = [new Uint8Array(128).fill(1), new Uint8Array(128).fill(2)];
    expect(event).toEqual(concatBytes(disk().subarray(512, 604), count, ...entries));
  });

  it.each<[string, (view: DataView) => void, string]>([
    [
      'without its signature',
      (view) => {
        view.setUint8(512, 0);
      },
      'layout-value',
    ],
    [
      'of another length',
      (view) => {
        view.setUint32(512 + 12, 96, true);
      },
      'layout-value',
    ],
    [
      'that says it stands elsewhere',
      (view) => {
        view.setBigUint64(512 + 24, 2n, true);
      },
      'layout-value',
    ],
    [
      'with entries in its header',
      (view) => {
        view.setBigUint64(512 + 72, 1n, true);
      },
      'partition-table',
    ],
    [
      'with entries behind the end',
      (view) => {
        view.setBigUint64(512 + 72, 127n, true);
      },
      'partition-table',
    ],
    [
      'with endless entries',
      (view) => {
        view.setUint32(512 + 80, 0xffffffff, true);
      },
      'layout-value',
    ],
    [
      'with entries of no length',
      (view) => {
        view.setUint32(512 + 84, 0, true);
      },
      'layout-value',
    ],
  ])('ER-13: %s is refused', (_what, edit, code) => {
    expect(refusalCode(() => partitionTableEvent(disk(edit), 512))).toBe(code);
  });

  it('ER-13: is read or refused whatever the bytes', () => {
    const changes = fc.array(fc.tuple(fc.integer({ min: 512, max: 603 }), fc.nat(255)), {
      minLength: 1,
      maxLength: 4,
    });
    fc.assert(
      fc.property(changes, fc.nat(2048), (places, length) => {
        const damaged = disk();
        for (const [at, value] of places) damaged[at] = value;
        for (const bytes of [damaged, damaged.subarray(0, length)]) {
          try {
            expect(partitionTableEvent(bytes, 512).length).toBeLessThanOrEqual(bytes.length + 8);
          } catch (error) {
            expect(error).toBeInstanceOf(RefusalError);
          }
        }
      }),
    );
  });

  it('ER-13: is followed by loader.conf, and by nothing where the firmware is silent', () => {
    const habits = { announcesBootOption: true, announcesExit: false };
    const events = expectConfiguration(toUtf8('table'), toUtf8('timeout 3'), habits, bank);
    expect(digestsOf(events)).toEqual([
      sha(new Uint8Array(4)),
      sha(toUtf8('table')),
      sha(toUtf8('timeout 3')),
    ]);
  });
});

const CERTIFICATE = toUtf8('certificate');
const VARIABLES = {
  SecureBoot: Uint8Array.of(1),
  PK: new Uint8Array(0),
  KEK: new Uint8Array(0),
  db: signatureListBytes(UefiSignatureType.x509, [toUtf8('the others!'), CERTIFICATE]),
  dbx: new Uint8Array(0),
};

describe('the variables of Secure Boot', () => {
  it('ER-14: refuse a state that is none, and lists that are none', () => {
    const codeOf = (change: object): string =>
      refusalCode(() => expectSecureBoot({ ...VARIABLES, ...change }, [], bank));
    expect(codeOf({})).toBe('accepted');
    expect(codeOf({ SecureBoot: new Uint8Array(0) })).toBe('accepted');
    expect(codeOf({ SecureBoot: Uint8Array.of(2) })).toBe('secure-boot-variable');
    expect(codeOf({ SecureBoot: Uint8Array.of(6, 0, 0, 0, 1) })).toBe('secure-boot-variable');
    expect(codeOf({ dbx: toUtf8('no list') })).toBe('layout-truncated');
  });

  it('ER-15: give the owner with the entry that allowed an image, and no other entry', () => {
    const { data, name } = databaseAuthority(VARIABLES.db, CERTIFICATE);
    expect([name, data]).toEqual(['db', concatBytes(new Uint8Array(16).fill(0x11), CERTIFICATE)]);
    expect(refusalCode(() => databaseAuthority(VARIABLES.db, toUtf8('certificat')))).toBe(
      'secure-boot-authority',
    );
  });

  it('ER-15: are taken out of efivarfs without their attributes', () => {
    expect(efivarfsContent(Uint8Array.of(7, 0, 0, 0, 1), 'SecureBoot')).toEqual(Uint8Array.of(1));
    expect(refusalCode(() => efivarfsContent(Uint8Array.of(7, 0, 0), 'x'))).toBe('layout-truncated');
    expect(refusalCode(() => efivarfsContent(Uint8Array.of(7, 1, 0, 0), 'x'))).toBe('layout-value');
  });
});

describe('what boot loaders and kernels measure', () => {
  it('ER-16: takes the lines of GRUB and of older Red Hat builds, and no others', () => {
    const lines = [
      'grub_cmd: set a=b',
      'kernel_cmdline: /vmlinuz ro',
      'grub_cmd set a=b',
      'grub_kernel_cmdline /vmlinuz',
    ];
    expect(digestsOf(expectGrubLines(lines, bank))).toEqual([
      sha(toUtf8('set a=b')),
      sha(toUtf8('/vmlinuz ro')),
      sha(toUtf8('set a=b\0')),
      sha(toUtf8('/vmlinuz')),
    ]);
    expect(refusalCode(() => expectGrubLines(['set a=b'], bank))).toBe('grub-line');
  });

  it('ER-17, ER-18: ends options as the one who hands them over does', () => {
    const files = expectGrubFiles([{ name: 'grub.cfg', content: toUtf8('set') }], bank);
    expect(files).toMatchObject([{ pcr: 9, what: 'file grub.cfg' }]);
    const zero = new Uint8Array(2);
    expect(digestsOf(expectKernelInputs('ro', 'systemd', toUtf8('initrd'), bank))).toEqual([
      sha(utf16Bytes('ro'), zero),
      sha(toUtf8('initrd')),
    ]);
    expect(digestsOf(expectKernelInputs('ro', 'grub', null, bank))).toEqual([sha(utf16Bytes('ro'))]);
    expect(digestsOf(expectCommandLines(['ro', 'é'], bank))).toEqual([
      sha(utf16Bytes('ro'), zero),
      sha(Uint8Array.of(0xe9, 0, 0, 0)),
    ]);
  });
});

const NOTHING: BootDescription = {
  habits: { announcesBootOption: true, announcesExit: true },
  images: [],
  uki: null,
  secureBoot: null,
  partitionTable: null,
  loaderConfiguration: null,
  commandLines: [],
  kernelOptions: null,
  initrd: null,
  grubLines: null,
  grubFiles: [],
};

describe('a whole boot', () => {
  it('ER-19: gives no register of nothing, and the reason for each', () => {
    const { registers, untold } = expectBoot(NOTHING, bank);
    expect(registers.size).toBe(0);
    expect(untold.map(({ pcr }) => pcr)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13]);
    expect(untold.every(({ why }) => why.length > 10)).toBe(true);
  });

  it.each<[number, Partial<BootDescription>]>([
    [5, { partitionTable: toUtf8('table') }],
    [7, { secureBoot: { variables: VARIABLES, authorities: [] } }],
    [8, { grubLines: ['grub_cmd: boot'] }],
    [9, { grubFiles: [{ name: 'a', content: toUtf8('a') }] }],
    [9, { initrd: toUtf8('initrd') }],
    [9, { kernelOptions: { text: 'ro', form: 'systemd' } }],
    [12, { commandLines: ['ro'] }],
  ])('ER-19: gives PCR %i and no other of what it depends on', (pcr, given) => {
    const { registers, untold } = expectBoot({ ...NOTHING, ...given }, bank);
    expect([...registers.keys()]).toEqual([pcr]);
    expect(untold.map((one) => one.pcr)).not.toContain(pcr);
  });
});
