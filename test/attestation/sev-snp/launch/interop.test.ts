/**
 * LM-6 to LM-16 against two tools that compute the same: sev-snp-measure, installed for this test from PyPI, and the
 * answers that virtee/sev publishes with the images in its package, where Cargo has fetched that (`cargo fetch` with
 * `sev = "=8.0.0"`). Where one of them is not to be had, its tests are skipped and say why.
 */

import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, generateKeyPairSync } from 'node:crypto';
import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { toHex, toUtf8 } from '../../../../attestation/core/bytes.ts';
import { readSubjectPublicKeyInfo } from '../../../../attestation/core/public-key.ts';
import { hypervisorOf } from '../../../../attestation/sev-snp/launch/hypervisor.ts';
import { idKeyDigest } from '../../../../attestation/sev-snp/launch/id-block.ts';
import { hashCommandLine } from '../../../../attestation/sev-snp/launch/kernel-hashes.ts';
import { measureFirmware, measureLaunch } from '../../../../attestation/sev-snp/launch/measure.ts';
import { readOvmf } from '../../../../attestation/sev-snp/launch/ovmf.ts';
import { vcpuSignature } from '../../../../attestation/sev-snp/launch/vcpu-model.ts';
import { AMD_SEV_SECTIONS, GENERAL_SECTIONS, ovmfImage } from '../../../support/ovmf-image.ts';

interface Case {
  readonly image: string;
  readonly hypervisor: 'qemu' | 'ec2' | 'gce';
  readonly vcpus: number;
  readonly model: string;
  readonly features: number;
  /** Content of kernel and initrd, and the command line; null without a direct boot. */
  readonly kernel: readonly [kernel: string, initrd: string, commandLine: string] | null;
}

const sha256 = (text: string): Uint8Array =>
  new Uint8Array(createHash('sha256').update(toUtf8(text)).digest());

function measure({ image, hypervisor, vcpus, model, features, kernel }: Case): string {
  const [kernelFile = '', initrdFile = '', commandLine = ''] = kernel ?? [];
  const launch = {
    hypervisor: hypervisorOf(hypervisor),
    firmware: measureFirmware(readOvmf(new Uint8Array(readFileSync(image)))),
    kernel:
      kernel === null
        ? null
        : {
            kernel: sha256(kernelFile),
            initrd: sha256(initrdFile),
            commandLine: hashCommandLine(commandLine),
          },
    vcpus,
    vcpuSignature: hypervisor === 'qemu' ? vcpuSignature(model) : null,
    guestFeatures: BigInt(features),
  };
  return toHex(measureLaunch(launch));
}

/** Reads cases as lines of JSON and prints one measurement a line. */
const DRIVER = `
import json, sys, tempfile
from sevsnpmeasure import guest, id_block, vcpu_types
from sevsnpmeasure.sev_mode import SevMode
from sevsnpmeasure.vmm_types import VMMType

VMMS = {'qemu': VMMType.QEMU, 'ec2': VMMType.ec2, 'gce': VMMType.gce}

def file(text):
    made = tempfile.NamedTemporaryFile(delete=False, dir=sys.argv[1])
    made.write(text.encode())
    made.close()
    return made.name

for line in sys.stdin:
    case = json.loads(line)
    if 'key' in case:
        print(id_block.pub_to_digest(id_block.load_private_key_from_pem_file(case['key'])).hex())
        continue
    kernel, initrd, append = case['kernel'] or (None, None, None)
    print(guest.calc_launch_digest(
        SevMode.SEV_SNP, case['vcpus'], vcpu_types.CPU_SIGS[case['model']], case['image'],
        kernel and file(kernel), initrd and file(initrd), append, case['features'],
        vmm_type=VMMS[case['hypervisor']]).hex())
`;

const folder = mkdtempSync(join(tmpdir(), 'weightgate-launch-'));
const python = join(folder, 'venv', 'bin', 'python');
/** Why sev-snp-measure cannot be asked; undefined when it can. */
let missing: string | undefined;

beforeAll(() => {
  const venv = spawnSync('python3', ['-m', 'venv', join(folder, 'venv')], { encoding: 'utf8' });
  if (venv.status !== 0) {
    missing = 'no python3 with venv';
    return;
  }
  const options = ['--quiet', '--disable-pip-version-check', '--retries', '0', '--timeout', '10'];
  const install = ['-m', 'pip', 'install', ...options, 'sev-snp-measure==0.0.13'];
  const pip = spawnSync(python, install, { encoding: 'utf8', timeout: 90_000 });
  if (pip.status !== 0) missing = `sev-snp-measure 0.0.13 could not be installed: ${pip.stderr.slice(-200)}`;
}, 120_000);

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const ask = (cases: readonly object[]): readonly string[] =>
  execFileSync(python, ['-c', DRIVER, folder], {
    input: cases.map((each) => `${JSON.stringify(each)}\n`).join(''),
    encoding: 'utf8',
  })
    .trimEnd()
    .split('\n');

function writeImage(name: string, image: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, image);
  return path;
}

/** Sections of any form that an image may have, with or without a page for hashes. */
const anySections = fc
  .array(fc.tuple(fc.nat(2), fc.integer({ min: 1, max: 3 }), fc.constantFrom(1, 4)), { maxLength: 6 })
  .map((parts) => {
    let address = 0x90_0000;
    return parts.map(([gap, pages, type]) => {
      const section = { address: address + gap * 4096, size: pages * 4096, type };
      address = section.address + section.size;
      return section;
    });
  });

const anyLaunch = fc.record({
  model: fc.constantFrom('EPYC', 'EPYC-v4', 'EPYC-IBPB', 'EPYC-Rome-v3', 'EPYC-Milan-v2', 'EPYC-Turin'),
  hypervisor: fc.constantFrom('qemu', 'ec2', 'gce'),
  vcpus: fc.integer({ min: 1, max: 9 }),
  features: fc.constantFrom(0x1, 0x21, 0x3, 0x201, 0xd7ff),
  resetAddress: fc.integer({ min: 0, max: 0xffff_ffff }),
  pages: fc.integer({ min: 1, max: 4 }),
  more: anySections,
  kernel: fc.option(fc.tuple(fc.string({ minLength: 1 }), fc.string(), fc.stringMatching(/^[ -~]{0,40}$/)), {
    nil: null,
  }),
});

describe('sev-snp-measure', () => {
  it('LM-6 to LM-13: computes the same for launches of all forms', (context) => {
    if (missing !== undefined) context.skip(missing);
    const cases = fc.sample(anyLaunch, { numRuns: 60, seed: 20_261_121 }).map((launch, i): Case => {
      const { more, resetAddress, pages, model, hypervisor, vcpus, features } = launch;
      const boots = hypervisor === 'qemu' ? launch.kernel : null;
      const base = boots === null ? GENERAL_SECTIONS : AMD_SEV_SECTIONS;
      const image = ovmfImage({ pages, resetAddress, sections: [...more, ...base] });
      const path = writeImage(`image-${i}`, image);
      return { image: path, hypervisor, vcpus, model, features, kernel: boots };
    });
    expect(new Set(cases.map(({ hypervisor }) => hypervisor)).size).toBe(3);
    expect(cases.map(measure)).toEqual(ask(cases));
  });

  // Distributions' images, and any others that the environment names; not all are built for SEV-SNP.
  const named = process.env['WEIGHTGATE_OVMF']?.split(':') ?? [];
  const installed = [...globSync('/usr/share/{ovmf,edk2/ovmf}/OVMF{,.amdsev}.fd'), ...named].filter((image) =>
    readFileSync(image).includes('ASEV'),
  );
  it.skipIf(installed.length === 0)(
    `LM-2 to LM-7: computes the same for the OVMF of this machine${installed.length === 0 ? ' (none for SEV-SNP here)' : ''}`,
    (context) => {
      if (missing !== undefined) context.skip(missing);
      const cases = installed.flatMap((image): Case[] => {
        const plain = { image, hypervisor: 'qemu', vcpus: 2, model: 'EPYC-Genoa', features: 1 } as const;
        const { kernelHashesAddress } = readOvmf(new Uint8Array(readFileSync(image)));
        const boots = kernelHashesAddress === null ? [] : ([['a kernel', 'an initrd', 'quiet']] as const);
        return [null, ...boots].map((kernel) => ({ ...plain, kernel }));
      });
      expect(cases.map(measure)).toEqual(ask(cases));
    },
  );

  it('LM-16: has the same digests of keys', (context) => {
    if (missing !== undefined) context.skip(missing);
    const pairs = Array.from({ length: 4 }, () => generateKeyPairSync('ec', { namedCurve: 'P-384' }));
    const files = pairs.map(({ privateKey }, i) => {
      const path = join(folder, `key-${i}.pem`);
      writeFileSync(path, privateKey.export({ type: 'pkcs8', format: 'pem' }));
      return { key: path };
    });
    const digests = pairs.map(({ publicKey }) => {
      const info = publicKey.export({ type: 'spki', format: 'der' });
      return toHex(idKeyDigest(readSubjectPublicKeyInfo(info, 'key'), 'key'));
    });
    expect(digests).toEqual(ask(files));
  });
});

const cargoHome = process.env['CARGO_HOME'] ?? join(homedir(), '.cargo');
const [published] = globSync(join(cargoHome, 'registry/src/*/sev-8.0.0/tests/measurement'));

/** tests/measurement.rs of virtee/sev 8.0.0: vCPUs EPYC-v4, an empty kernel and initrd where there are any. */
const ANSWERS: readonly (readonly [
  image: string,
  append: string | null,
  vcpus: number,
  features: number,
  answer: string,
])[] = [
  [
    'AmdSev',
    'console=ttyS0 loglevel=7',
    1,
    0x1,
    '6d287813eb5222d770f75005c664e34c204f385ce832cc2ce7d0d6f354454362f390ef83a92046c042e706363b4b08fa',
  ],
  [
    'AmdSev',
    'console=ttyS0 loglevel=7',
    1,
    0x21,
    '803f691094946e42068aaa3a8f9e26a5c89f36f7b73ecfb28c653360fe4b3aba7e534442e7e1e17895dfe778d0228977',
  ],
  [
    'AmdSev',
    '',
    1,
    0x1,
    'ddc5224521617a536ee7ce9dd6224d1b58a8d4fda1c741f3ac99fc4bfa04ba6e9fc98646d4a07a9079397fa3852819b5',
  ],
  [
    'AmdSev',
    '',
    1,
    0x21,
    '329c8ce0972ae52343b64d34a434a86f245dfd74f5ed7aae15d22efc78fb9683632b9b50e4e1d7fa41179ef98a7ef198',
  ],
  [
    'AmdSev',
    '',
    4,
    0x1,
    '5061fffb019493a903613d56d54b94912a1a2f9e4502385f5c194616753720a92441310ba6c4933de877c36e23046ad5',
  ],
  [
    'AmdSev',
    '',
    4,
    0x21,
    '4953b1fb416fa874980e8442b3706d345926d5f38879134e00813c5d7abcbe78eafe7b422907be0b4698e2414a631942',
  ],
  [
    'AmdSev',
    null,
    1,
    0x1,
    '19358ba9a7615534a9a1e2f0dfc29384dcd4dcb7062ff9c6013b26869a5fc6ecabe033c48dd6f6db5d6d76e7c5df632d',
  ],
  [
    'AmdSev',
    null,
    1,
    0x21,
    'e1e1ca029dd7973ab9513295be68198472dcd4fc834bd9af9b63f6e8a1674dbf281a9278a4a2ebe0eed9f22adbcd0e2b',
  ],
  [
    'OvmfX64',
    null,
    1,
    0x1,
    'da0296de8193586a5512078dcd719eccecbd87e2b825ad4148c44f665dc87df21e5b49e21523a9ad993afdb6a30b4005',
  ],
  [
    'OvmfX64',
    null,
    1,
    0x21,
    '28797ae0afaba4005a81e629acebfb59e6687949d6be44007cd5506823b0dd66f146aaae26ff291eed7b493d8a64c385',
  ],
];

describe.skipIf(published === undefined)('virtee/sev 8.0.0 (needs Cargo and its fetched package)', () => {
  it.each(ANSWERS)(
    'LM-6 to LM-10: %s, %s, %i vCPUs, features %i',
    (name, append, vcpus, features, answer) => {
      const measured = measure({
        image: join(published!, `ovmf_${name}_suffix.bin`),
        hypervisor: 'qemu',
        vcpus,
        model: 'EPYC-v4',
        features,
        kernel: append === null ? null : ['', '', append],
      });
      expect(measured).toBe(answer);
    },
  );

  it('LM-6: the digest after the pages of the image', () => {
    const image = readFileSync(join(published!, 'ovmf_AmdSev_suffix.bin'));
    expect(toHex(measureFirmware(readOvmf(new Uint8Array(image))).digest)).toBe(
      '086e2e9149ebf45abdc3445fba5b2da8270bdbb04094d7a2c37faaa4b24af3aa16aff8c374c2a55c467a50da6d466b74',
    );
  });
});
