import { beforeAll, describe, expect, it } from 'vitest';

import { fromHex, toHex, toUtf8 } from '../../../../attestation/core/bytes.ts';
import type { Refusal } from '../../../../attestation/core/refusal.ts';
import type { Trusted } from '../../../../attestation/core/trusted.ts';
import { judge } from '../../../../attestation/core/verdict.ts';
import type { Checklist } from '../../../../attestation/core/verdict.ts';
import { appraiseComparison, appraiseRim } from '../../../../attestation/nvidia-gpu/rim/appraise.ts';
import type { RimIssuePolicy, WantedRim } from '../../../../attestation/nvidia-gpu/rim/appraise.ts';
import { authenticateRim } from '../../../../attestation/nvidia-gpu/rim/authenticate.ts';
import type { Rim } from '../../../../attestation/nvidia-gpu/rim/authenticate.ts';
import { compareMeasurements } from '../../../../attestation/nvidia-gpu/rim/compare.ts';
import type { ComparisonOptions, RimRole } from '../../../../attestation/nvidia-gpu/rim/compare.ts';
import { readRim } from '../../../../attestation/nvidia-gpu/rim/document.ts';
import { driverRimId, switchRimId, vbiosRimId } from '../../../../attestation/nvidia-gpu/rim/identifier.ts';
import { firmwareDigestBlock } from '../../../../attestation/nvidia-gpu/spdm.ts';
import type { MeasurementBlock } from '../../../../attestation/nvidia-gpu/spdm.ts';
import { refusalCode } from '../../../support/refusal-code.ts';
import {
  digestOf,
  inputsOf,
  makeChain,
  manifestText,
  measurement,
  NOW,
  securityVersion,
  signText,
} from './made-manifest.ts';
import type { MadeManifest, SignerChain } from './made-manifest.ts';

const range = (first: number, last: number): readonly number[] =>
  Array.from({ length: last - first + 1 }, (_, i) => first + i);
const DRIVER = [7, ...range(21, 40)];
const VBIOS = [...range(0, 6), ...range(8, 12)];

let chain: SignerChain;
beforeAll(async () => {
  chain = await makeChain();
});
const rimOf = (made: MadeManifest): Promise<Trusted<Rim>> =>
  authenticateRim(readRim(toUtf8(signText(manifestText(made), chain))), inputsOf(chain));

/** Block `index + 1` holds the digest of `index`; those that are not named are zero. */
const reportOf = (used: readonly number[]): readonly MeasurementBlock[] =>
  range(0, 63).map((index) =>
    firmwareDigestBlock(index + 1, fromHex(digestOf(used.includes(index) ? index + 1 : 0), 'digest')),
  );
const values = (indices: readonly number[]): readonly string[] =>
  indices.map((index) => measurement(index, true, [digestOf(index + 1)]));

const OPTIONS: ComparisonOptions = {
  roles: ['driver', 'vbios'],
  nvdec0Status: 'enabled',
  disabledNvdec: 'compare',
  securityVersions: new Map(),
};

/** The refusals of an appraisal, in order. */
async function refusals(appraise: (checks: Checklist) => void): Promise<readonly Refusal[]> {
  const verdict = await judge((checks) => {
    appraise(checks);
    return {};
  });
  return verdict.outcome === 'accepted' ? [] : verdict.refusals;
}

/** Codes and fields of what is wrong with a report beside manifests of these resources. */
async function outcome(
  driver: readonly string[] | undefined,
  vbios: readonly string[] | undefined,
  edits: Partial<ComparisonOptions> & {
    readonly blocks?: readonly MeasurementBlock[];
    readonly product?: string;
  } = {},
): Promise<readonly string[]> {
  const { blocks = reportOf([...DRIVER, ...VBIOS]), product = 'GH100', ...options } = edits;
  const rims = new Map<RimRole, Trusted<Rim>>();
  if (driver !== undefined) rims.set('driver', await rimOf({ product, resources: driver }));
  if (vbios !== undefined) rims.set('vbios', await rimOf({ product, resources: vbios }));
  const comparison = compareMeasurements(blocks, rims, { ...OPTIONS, ...options });
  const found = await refusals((checks) => {
    appraiseComparison(comparison, checks);
  });
  return found.map(({ code, field }) => `${code} ${field}`);
}

describe('a report beside its manifests', () => {
  it('NR-31: matches where every active index does', async () => {
    expect(await outcome(values(DRIVER), values(VBIOS))).toEqual([]);
  });

  it('NR-31: every index that differs is named, with what was expected and found', async () => {
    const driver = await rimOf({
      resources: [
        ...values(DRIVER.slice(2)),
        measurement(7, true, [digestOf(1), digestOf(2)]),
        measurement(21, true, [digestOf(3)]),
      ],
    });
    const vbios = await rimOf({ resources: values(VBIOS) });
    const rims = new Map<RimRole, Trusted<Rim>>([
      ['driver', driver],
      ['vbios', vbios],
    ]);
    const comparison = compareMeasurements(reportOf([...DRIVER, ...VBIOS]), rims, OPTIONS);
    expect(comparison.mismatches).toEqual([
      {
        role: 'driver',
        index: 7,
        name: 'Measurement_7',
        expected: [digestOf(1), digestOf(2)],
        found: digestOf(8),
      },
      { role: 'driver', index: 21, name: 'Measurement_21', expected: [digestOf(3)], found: digestOf(22) },
    ]);
    const found = await refusals((checks) => {
      appraiseComparison(comparison, checks);
    });
    expect(found.map(({ code, field }) => [code, field])).toEqual([
      ['rim-measurement', 'measurements[7]'],
      ['rim-measurement', 'measurements[21]'],
    ]);
    expect(found[0]?.expected).toContain(digestOf(2));
    expect(found[0]?.found).toBe(digestOf(8));
  });

  it('NR-31: any of the alternatives will do, and a block must be there', async () => {
    const alternatives = [...values(DRIVER.slice(1)), measurement(7, true, [digestOf(1), digestOf(8)])];
    expect(await outcome(alternatives, values(VBIOS))).toEqual([]);
    const blocks = reportOf([...DRIVER, ...VBIOS]).filter(({ index }) => index !== 41);
    expect(await outcome(values(DRIVER), values(VBIOS), { blocks })).toEqual([
      'rim-measurement measurements[40]',
    ]);
    const short = reportOf([...DRIVER, ...VBIOS]).map((block) =>
      block.index === 1 ? firmwareDigestBlock(1, new Uint8Array(47).fill(1)) : block,
    );
    expect(await outcome(values(DRIVER), values(VBIOS), { blocks: short })).toEqual([
      'rim-measurement measurements[0]',
    ]);
  });

  it('NR-31: an inactive index is not compared', async () => {
    const inactive = [...values(DRIVER), measurement(50, false, [digestOf(9)])];
    expect(await outcome(inactive, values(VBIOS))).toEqual([]);
  });

  it('NR-29: an index in two manifests is a conflict, though both match', async () => {
    expect(await outcome(values([...DRIVER, 8]), values(VBIOS))).toEqual(['rim-conflict measurements']);
    const inactive = [...values(DRIVER), measurement(8, false, [digestOf(0)])];
    expect(await outcome(inactive, values(VBIOS))).toEqual([]);
    const twice = [securityVersion(4133, '1')];
    const securityVersions = new Map([[37, 1]]);
    expect(
      await outcome([...values(DRIVER), ...twice], [...values(VBIOS), ...twice], { securityVersions }),
    ).toEqual(['rim-conflict measurements']);
  });

  it('NR-30: a manifest that is missing, empty or has gaps is refused', async () => {
    expect(await outcome(values(DRIVER), undefined)).toEqual(['rim-missing measurements']);
    expect(await outcome(undefined, values(VBIOS))).toEqual(['rim-missing measurements']);
    const empty = [measurement(7, false, [digestOf(8)])];
    expect(await outcome(empty, values(VBIOS))).toEqual([
      'rim-missing measurements',
      'rim-incomplete measurements',
    ]);
    expect(await outcome(values(DRIVER), values(VBIOS.slice(1)))).toEqual(['rim-incomplete measurements']);
    expect(await outcome(values(DRIVER.slice(0, -1)), values(VBIOS))).toEqual([
      'rim-incomplete measurements',
    ]);
  });

  it('NR-30: of other chips only that there is an active index is known', async () => {
    const blocks = reportOf([1, 2]);
    expect(await outcome(values([1]), values([2]), { product: 'GB100', blocks })).toEqual([]);
    const empty = [measurement(1, false, [digestOf(1)])];
    expect(await outcome(empty, values([2]), { product: 'GB100', blocks })).toEqual([
      'rim-missing measurements',
    ]);
  });

  it('NR-30: a switch needs one manifest with 0 to 30', async () => {
    const options = { ...OPTIONS, roles: ['switch'], nvdec0Status: undefined } as const;
    const blocks = reportOf(range(0, 30)).slice(0, 31);
    const codes = async (indices: readonly number[]): Promise<readonly string[]> => {
      const rim = await rimOf({ product: 'LS10', edition: 'SWITCH', resources: values(indices) });
      const found = await refusals((checks) => {
        appraiseComparison(compareMeasurements(blocks, new Map([['switch', rim]]), options), checks);
      });
      return found.map(({ code }) => code);
    };
    expect(await codes(range(0, 30))).toEqual([]);
    expect(await codes(range(0, 29))).toEqual(['rim-incomplete']);
  });

  it('NR-32: the video decoder counts by its state', async () => {
    const blocks = reportOf([...DRIVER, ...VBIOS]).map((block) =>
      block.index === 36 ? firmwareDigestBlock(36, fromHex(digestOf(0xee), 'digest')) : block,
    );
    const differing = (edits: Partial<ComparisonOptions>): Promise<readonly string[]> =>
      outcome(values(DRIVER), values(VBIOS), { blocks, ...edits });
    const mismatch = ['rim-measurement measurements[35]'];
    expect(await differing({ nvdec0Status: 'enabled' })).toEqual(mismatch);
    expect(await differing({ nvdec0Status: 'enabled', disabledNvdec: 'skip' })).toEqual(mismatch);
    expect(await differing({ nvdec0Status: 'disabled' })).toEqual(mismatch);
    expect(await differing({ nvdec0Status: 'disabled', disabledNvdec: 'skip' })).toEqual([]);
    const unknown = { nvdec0Status: undefined, disabledNvdec: 'skip' } as const;
    expect(await differing(unknown)).toEqual(['rim-nvdec-status measurements', ...mismatch]);
    expect(await outcome(values(DRIVER), values(VBIOS), unknown)).toEqual(['rim-nvdec-status measurements']);
  });

  it('NR-33: a security version is there and not below its minimum', async () => {
    const driver = [...values(DRIVER), securityVersion(4133, '3')];
    const reported = (...versions: readonly (readonly [number, number])[]): Promise<readonly string[]> =>
      outcome(driver, values(VBIOS), { securityVersions: new Map(versions) });
    expect(await reported([37, 3])).toEqual([]);
    expect(await reported([37, 4], [38, 0])).toEqual([]);
    expect(await reported([37, 2])).toEqual(['rim-security-version opaqueData[37]']);
    expect(await reported([38, 9])).toEqual(['rim-security-version opaqueData[37]']);
    expect(await reported()).toEqual(['rim-security-version opaqueData[37]']);
    const least = [...values(DRIVER), securityVersion(4133, '0')];
    expect(await outcome(least, values(VBIOS))).toEqual(['rim-security-version opaqueData[37]']);
    const inactive = [...values(DRIVER), securityVersion(4133, '3').replace('"True"', '"False"')];
    expect(await outcome(inactive, values(VBIOS))).toEqual([]);
  });

  it('NR-34: blocks that no manifest covers are named', async () => {
    const rims = new Map<RimRole, Trusted<Rim>>([
      ['driver', await rimOf({ resources: [...values(DRIVER), measurement(50, false, [digestOf(51)])] })],
      ['vbios', await rimOf({ resources: values(VBIOS) })],
    ]);
    const uncovered = (used: readonly number[]): readonly number[] =>
      compareMeasurements(reportOf([...DRIVER, ...VBIOS, ...used]), rims, OPTIONS).uncovered;
    expect(uncovered([])).toEqual([]);
    expect(uncovered([63, 13, 50])).toEqual([13, 50, 63]);
  });
});

describe('whether a manifest is the one for the device', () => {
  const WANTED: WantedRim = { chip: 'GH100', kind: 'gpu', version: '550.90.07' };
  const ANY: RimIssuePolicy = { contentDigests: 'any', signerNotBefore: 0 };
  const codes = async (
    made: MadeManifest,
    wanted: Partial<WantedRim> = {},
    issues: Partial<RimIssuePolicy> = {},
  ): Promise<readonly string[]> => {
    const rim = await rimOf(made);
    const found = await refusals((checks) => {
      appraiseRim('driver', rim, { ...WANTED, ...wanted }, { ...ANY, ...issues }, checks);
    });
    return found.map(({ code }) => code);
  };

  it('NR-27: product, edition and version are those of the device', async () => {
    expect(await codes({})).toEqual([]);
    expect(await codes({ product: 'GB100' })).toEqual(['rim-product']);
    expect(await codes({ edition: 'SWITCH' })).toEqual(['rim-edition']);
    expect(await codes({}, { kind: 'switch' })).toEqual(['rim-edition']);
    expect(await codes({ version: '550.90.7' })).toEqual(['rim-version']);
    expect(await codes({}, { version: '550.90.070' })).toEqual(['rim-version']);
    expect(await codes({}, { chip: 'LS10', kind: 'switch', version: '1' })).toEqual([
      'rim-product',
      'rim-edition',
      'rim-version',
    ]);
  });

  it('NR-28: digest and age of the issue are both judged', async () => {
    const { contentDigest, signerNotBefore } = await rimOf({});
    const other = fromHex(digestOf(1), 'digest');
    expect(signerNotBefore).toBe(NOW - 100 * 86_400);
    expect(await codes({}, {}, { contentDigests: [other, contentDigest] })).toEqual([]);
    expect(await codes({}, {}, { contentDigests: [other] })).toEqual(['rim-issue']);
    expect(await codes({}, {}, { contentDigests: [] })).toEqual(['rim-issue']);
    expect(await codes({}, {}, { signerNotBefore })).toEqual([]);
    expect(await codes({}, {}, { signerNotBefore: signerNotBefore + 1 })).toEqual(['rim-issue-date']);
    expect(await codes({}, {}, { contentDigests: [contentDigest], signerNotBefore: NOW })).toEqual([
      'rim-issue-date',
    ]);
  });

  it('NR-28: the digest names the values, not how they were written or signed', async () => {
    const text = manifestText();
    const digests = await Promise.all(
      [
        text,
        `<!-- again -->${text}`,
        text.replace('edition="GPU" product="GH100"', "product='GH100'\n edition='GPU'"),
      ].map(async (written) => {
        const claimed = readRim(toUtf8(signText(written, chain)));
        return toHex((await authenticateRim(claimed, inputsOf(chain))).contentDigest);
      }),
    );
    expect(new Set(digests).size).toBe(1);
  });
});

describe('identifiers of manifests', () => {
  it('NR-26: each kind has its own', () => {
    expect(driverRimId({ chip: 'GH100', driverVersion: '550.90.07' })).toBe('NV_GPU_DRIVER_GH100_550.90.07');
    expect(driverRimId({ chip: 'GB100', driverVersion: '575.32' })).toBe('NV_GPU_CC_DRIVER_GB100_575.32');
    const vbios = { project: 'g520', projectSku: '0200', chipSku: '885', vbiosVersion: '96.00.6d.00.0a' };
    expect(vbiosRimId(vbios)).toBe('NV_GPU_VBIOS_G520_0200_885_96006D000A');
    expect(switchRimId({ vbiosVersion: '96.10.55.00.01' })).toBe('NV_SWITCH_BIOS_5612_0002_890_9610550001');
  });

  it.each([
    '',
    '../other',
    'a/b',
    'a_b',
    'a b',
    'a%2e',
    'a?x',
    '\u0131',
    '\u00df',
    '.1',
    'a'.repeat(33),
    'a\n',
    '\u0000',
  ])('NR-26: %j is no part of one', (text) => {
    const vbios = { project: '1010', projectSku: '0200', chipSku: '882', vbiosVersion: '96.00' };
    expect(refusalCode(() => driverRimId({ chip: text, driverVersion: '1.0' }))).toBe('rim-identifier');
    expect(refusalCode(() => driverRimId({ chip: 'GH100', driverVersion: text }))).toBe('rim-identifier');
    for (const name of Object.keys(vbios)) {
      expect(refusalCode(() => vbiosRimId({ ...vbios, [name]: text }))).toBe('rim-identifier');
    }
    expect(refusalCode(() => switchRimId({ vbiosVersion: text }))).toBe('rim-identifier');
  });
});
