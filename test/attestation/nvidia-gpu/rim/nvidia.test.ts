/** Manifests and reports that NVIDIA itself has signed. */

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { toHex, toUtf8 } from '../../../../attestation/core/bytes.ts';
import { CertificateMemory } from '../../../../attestation/core/certificate-memory.ts';
import { isRefusal } from '../../../../attestation/core/refusal.ts';
import { readOpaqueData } from '../../../../attestation/nvidia-gpu/opaque-data.ts';
import { readGpuFields, readSwitchFields } from '../../../../attestation/nvidia-gpu/opaque-fields.ts';
import { authenticateRim } from '../../../../attestation/nvidia-gpu/rim/authenticate.ts';
import { compareMeasurements } from '../../../../attestation/nvidia-gpu/rim/compare.ts';
import type { MeasurementComparison, RimRole } from '../../../../attestation/nvidia-gpu/rim/compare.ts';
import { readRim } from '../../../../attestation/nvidia-gpu/rim/document.ts';
import { driverRimId, switchRimId, vbiosRimId } from '../../../../attestation/nvidia-gpu/rim/identifier.ts';
import { readReport, withoutPadding } from '../../../../attestation/nvidia-gpu/spdm.ts';
import { fileBytes, inputsAt, missing, rimBytes, rimVector, vectorsOf } from './nvidia-files.ts';

const DRIVER = 'rim/NV_GPU_DRIVER_GH100_550.90.07';
const fileName = (id: string): string => id.replace('rim/', '');

describe.skipIf(missing !== undefined)(
  `NVIDIA’s manifests${missing === undefined ? '' : ` (${missing})`}`,
  () => {
    it.each(vectorsOf('rim').map((vector) => [vector.id, vector] as const))(
      'NR-12, NR-13, NR-15: %s',
      async (_, vector) => {
        const verified = async (): Promise<unknown> => {
          const claimed = readRim(rimBytes(vector));
          const { manifest } = await authenticateRim(claimed, inputsAt(vector));
          const active = manifest.measurements.filter(({ isActive }) => isActive);
          const several = active.filter(({ alternatives }) => alternatives.length > 1);
          return {
            tag_id: manifest.tagId,
            version: manifest.colloquialVersion,
            product: manifest.product,
            edition: manifest.edition,
            resources: manifest.measurements.length,
            active_indices: active.map(({ index }) => index),
            multi_alternative_indices: several.map(({ index, alternatives }) => [index, alternatives.length]),
          };
        };
        if (vector.expect.verdict !== 'accept') {
          await expect(verified()).rejects.toSatisfy(isRefusal);
          return;
        }
        const { name: _name, ...parsed } = vector.parsed;
        expect(await verified()).toEqual(parsed);
      },
    );

    it('NR-28: one version has had issues with other values, told apart by their digests', async () => {
      const ids = ['2023', 'reissued', 'test_no_gpu'].map(
        (issue) => `rim/NV_GPU_VBIOS_1010_0200_882_96005E0001_${issue}`,
      );
      const rims = await Promise.all(
        ids.map((id) => authenticateRim(readRim(rimBytes(rimVector(id))), inputsAt(rimVector(id)))),
      );
      expect(new Set(rims.map(({ manifest }) => manifest.colloquialVersion)).size).toBe(1);
      expect(new Set(rims.map(({ contentDigest }) => toHex(contentDigest))).size).toBe(3);
      expect(new Set(rims.map(({ signerNotBefore }) => signerNotBefore)).size).toBe(3);
    });

    it('any byte that is changed is refused, or makes no difference to what is signed', async () => {
      const vector = rimVector(DRIVER);
      const bytes = rimBytes(vector);
      const inputs = { ...inputsAt(vector), memory: new CertificateMemory() };
      const genuine = readRim(bytes);
      const signature = Buffer.from(bytes).indexOf('<ds:Signature ');
      const place = fc.oneof(fc.nat(signature - 1), fc.integer({ min: signature, max: bytes.length - 1 }));
      await fc.assert(
        fc.asyncProperty(place, fc.integer({ min: 1, max: 255 }), async (at, mask) => {
          const changed = bytes.slice();
          changed[at] = (changed[at] ?? 0) ^ mask;
          try {
            const claimed = readRim(changed);
            const { manifest } = await authenticateRim(claimed, inputs);
            expect(toHex(claimed.content)).toBe(toHex(genuine.content));
            expect(toHex(claimed.signature.signedInfo)).toBe(toHex(genuine.signature.signedInfo));
            expect(manifest).toEqual(genuine.manifest);
          } catch (error) {
            if (!isRefusal(error)) throw error;
          }
        }),
        { numRuns: 250 },
      );
    });

    it('another writing of the same manifest is the same manifest', async () => {
      const vector = rimVector(DRIVER);
      const text = Buffer.from(rimBytes(vector)).toString();
      const rewritten = [
        `<?xml version="1.0" encoding="UTF-8"?>\n${text}`,
        text.replaceAll('\n', '\r\n'),
        text.replaceAll(/<(ns0:\w+|ds:\w+)([^<>]*)\/>/g, '<$1$2></$1>'),
        text.replace(/(<ns0:Resource) type="Measurement" (index="9")/, "$1 $2 type='&#77;easurement'"),
        text.replace('<ns0:Payload', '<!-- none of the values --><ns0:Payload'),
      ];
      for (const other of rewritten) {
        expect(other).not.toBe(text);
        const rim = await authenticateRim(readRim(toUtf8(other)), inputsAt(vector));
        expect(rim.manifest).toEqual(readRim(toUtf8(text)).manifest);
      }
    });
  },
);

describe.skipIf(missing !== undefined)(
  `NVIDIA’s reports beside its manifests${missing === undefined ? '' : ` (${missing})`}`,
  () => {
    const reportFile = (id: string): Uint8Array => {
      const evidence = [...vectorsOf('gpu-evidence'), ...vectorsOf('switch-evidence')].find(
        (vector) => vector.id === id,
      );
      if (evidence === undefined) throw new Error(`no vector ${id}`);
      return withoutPadding(fileBytes(evidence.files.report.path));
    };

    const compare = async (
      { uses }: ReturnType<typeof vectorsOf<'measurement'>>[number],
      disabledNvdec: 'compare' | 'skip',
    ): Promise<MeasurementComparison> => {
      const kind = uses.bios_rim === undefined ? 'gpu' : 'switch';
      const { response } = readReport(reportFile(uses.evidence), kind);
      const data = readOpaqueData(response.opaqueData, 'opaque');
      const roles = { driver: uses.driver_rim, vbios: uses.vbios_rim, switch: uses.bios_rim };
      const given = Object.entries(roles).flatMap(([role, id]) =>
        id === undefined ? [] : [[role as RimRole, id] as const],
      );
      const rims = await Promise.all(
        given.map(
          async ([role, id]) =>
            [role, await authenticateRim(readRim(rimBytes(rimVector(id))), inputsAt(rimVector(id)))] as const,
        ),
      );
      return compareMeasurements(response.blocks, new Map(rims), {
        roles: kind === 'gpu' ? ['driver', 'vbios'] : ['switch'],
        nvdec0Status: kind === 'gpu' ? readGpuFields(data, 'opaque').nvdec0Status : undefined,
        disabledNvdec,
        securityVersions: new Map(),
      });
    };

    it.each(vectorsOf('measurement').map((vector) => [vector.id, vector] as const))(
      'NR-29, NR-31, NR-32, NR-34: %s',
      async (_, vector) => {
        const { compared, skipped, conflict, mismatched, uncovered_nonzero: uncovered } = vector.result;
        const found = await compare(vector, 'skip');
        const indices = [...new Set(found.mismatches.map(({ index }) => index))];
        expect({ ...found, mismatches: indices }).toMatchObject({
          ...{ compared, skipped, conflicts: conflict, mismatches: mismatched, uncovered },
          ...{ outdated: [], lacksNvdecStatus: false },
        });
        const strict = await compare(vector, 'compare');
        const strictIndices = new Set(strict.mismatches.map(({ index }) => index));
        expect([...strictIndices]).toEqual(vector.result.mismatched_if_index_35_is_always_compared);
        expect(strict.skipped).toEqual([]);
      },
    );

    it('NR-26: identifiers of the signed fields are the names of NVIDIA’s files', () => {
      const { response } = readReport(reportFile('h100-550.90.07'), 'gpu');
      const fields = readGpuFields(readOpaqueData(response.opaqueData, 'opaque'), 'opaque');
      expect(driverRimId({ chip: 'GH100', ...fields })).toBe(fileName(DRIVER));
      expect(vbiosRimId(fields)).toBe('NV_GPU_VBIOS_1010_0200_882_96009F0001');
      const ls10 = readReport(reportFile('ls10-96.10.55.00.01'), 'switch').response;
      const own = readSwitchFields(readOpaqueData(ls10.opaqueData, 'opaque'), 'opaque');
      expect(switchRimId(own)).toBe('NV_SWITCH_BIOS_5612_0002_890_9610550001');
    });
  },
);
