import { describe, expect, it } from 'vitest';

import { toHex, toUtf8 } from '../../../../attestation/core/bytes.ts';
import { readManifest } from '../../../../attestation/nvidia-gpu/rim/manifest.ts';
import type { RimManifest } from '../../../../attestation/nvidia-gpu/rim/manifest.ts';
import { readXml } from '../../../../attestation/nvidia-gpu/rim/xml.ts';
import { refusalCode } from '../../../support/refusal-code.ts';
import { digestOf, manifestText, measurement, securityVersion } from './made-manifest.ts';

const read = (text: string): RimManifest => readManifest(readXml(toUtf8(text), 'rim'));
const codeOf = (text: string): string => refusalCode(() => read(text));
const withResources = (...resources: readonly string[]): string => manifestText({ resources });

describe('the content of a manifest', () => {
  it('gives identity and reference values', () => {
    const manifest = read(
      withResources(
        measurement(3, false, [digestOf(0)]),
        measurement(35, true, [digestOf(1), digestOf(2).toUpperCase()]),
        securityVersion(4096 + 37, '2', ' ns3:includeInResult="True" alternatives="1" size="2"'),
      ),
    );
    expect(manifest).toMatchObject({
      ...{ tagId: '0a1b', product: 'GH100', edition: 'GPU', colloquialVersion: '550.90.07' },
      measurements: [
        { index: 3, isActive: false },
        { index: 35, isActive: true, name: 'Measurement_35' },
      ],
      securityVersions: [{ opaqueType: 37, minimum: 2, isActive: true, name: 'Svn_4133' }],
    });
    expect(manifest.measurements[1]?.alternatives.map(toHex)).toEqual([digestOf(1), digestOf(2)]);
  });

  it.each([
    ['another root', /SoftwareIdentity/g, 'ns0:Payload', 'rim-resource'],
    ['a patch', 'patch="false"', 'patch="true"', 'rim-value'],
    ['a supplement', 'supplemental="false"', 'supplemental="true"', 'rim-value'],
    ['no tag identifier', ' tagId="0a1b"', '', 'rim-attribute'],
    ['an unknown attribute', ' tagId=', ' media="x" tagId=', 'rim-attribute'],
    ['an attribute of another namespace', ' tagId=', ' ns2:tagId="x" tagId=', 'rim-attribute'],
    ['no entity', /<ns0:Entity[^>]*>/, '', 'rim-element'],
    ['two entities', /(<ns0:Entity[^>]*>)/, '$1$1', 'rim-element'],
    ['a link', '<ns0:Payload>', '<ns0:Link/><ns0:Payload>', 'rim-element'],
    ['text in Meta', /(<ns0:Meta[^>]*)\/>/, '$1>x</ns0:Meta>', 'rim-element'],
  ])('NR-20, NR-25: %s', (_, from, to, expected) => {
    const changed = manifestText().replace(from, to);
    expect(changed).not.toBe(manifestText());
    expect(codeOf(changed)).toBe(expected);
  });

  it.each([
    ['no version', ' colloquialVersion="550.90.07"', '', 'rim-attribute'],
    ['an empty version', 'colloquialVersion="550.90.07"', 'colloquialVersion=""', 'rim-value'],
    [
      'a version with a line end',
      'colloquialVersion="550.90.07"',
      'colloquialVersion="550.90.07&#10;"',
      'rim-value',
    ],
    ['another edition', 'edition="GPU"', 'edition="CPU"', 'rim-value'],
    ['an empty product', 'product="GH100"', 'product=""', 'rim-value'],
    ['values elsewhere', 'PayloadType="direct"', 'PayloadType="indirect"', 'rim-value'],
    ['another binding', 'BindingSpec="RIMIM"', 'BindingSpec="PC Client RIM"', 'rim-value'],
    ['another manufacturer', 'FirmwareManufacturerId="5703"', 'FirmwareManufacturerId="57030"', 'rim-value'],
    [
      'a manufacturer without its namespace',
      'ns1:FirmwareManufacturerId',
      'FirmwareManufacturerId',
      'rim-attribute',
    ],
    ['an unknown attribute', ' revision="r1"', ' revision="r1" persistentId="x"', 'rim-attribute'],
  ])('NR-21: %s', (_, from, to, expected) => {
    const changed = manifestText().replace(from, to);
    expect(changed).not.toBe(manifestText());
    expect(codeOf(changed)).toBe(expected);
  });

  const good = measurement(7, true, [digestOf(7)]);
  const many = (count: number): readonly string[] =>
    Array.from({ length: count }, (_, i) =>
      i < 64 ? measurement(i, true, [digestOf(i)]) : securityVersion(4032 + i, '1'),
    );
  it.each([
    ['none', [], 'rim-resource'],
    ['256', many(256), 'accepted'],
    ['257', many(257), 'rim-resource'],
    ['an index twice', [good, good], 'rim-duplicate-index'],
    ['an index twice, once inactive', [good, measurement(7, false, [digestOf(0)])], 'rim-duplicate-index'],
    ['a minimum twice', [securityVersion(4100, '1'), securityVersion(4100, '2')], 'rim-duplicate-index'],
    ['no index', [good.replace(' index="7"', '')], 'rim-attribute'],
    ['an index with a leading zero', [good.replace('index="7"', 'index="07"')], 'rim-value'],
    ['a negative index', [good.replace('index="7"', 'index="-1"')], 'rim-value'],
    ['an index in hexadecimal', [good.replace('index="7"', 'index="0x7"')], 'rim-value'],
    ['another type', [good.replace('type="Measurement"', 'type="File"')], 'rim-value'],
    ['active as XML Schema has it', [good.replace('"True"', '"true"')], 'rim-value'],
    ['an element inside', [good.replace('/>', '><ns0:Entity/></ns0:Resource>')], 'rim-element'],
    ['text inside', [good.replace('/>', '>x</ns0:Resource>')], 'rim-element'],
    ['an identifier', [good.replace('/>', ' Id="a"/>')], 'rim-attribute'],
    ['another element', [good, '<ns0:File name="a"/>'], 'rim-element'],
  ])('NR-22: resources: %s', (_, resources, expected) => {
    expect(codeOf(withResources(...resources))).toBe(expected);
  });

  const sixteen = Array.from({ length: 16 }, (_, i) => digestOf(i));
  it.each([
    ['16 alternatives', measurement(7, true, sixteen), 'accepted'],
    ['17 alternatives', measurement(7, true, [...sixteen, digestOf(16)]), 'rim-attribute'],
    ['none', measurement(7, true, []), 'rim-resource'],
    ['fewer hashes than counted', good.replace('alternatives="1"', 'alternatives="2"'), 'rim-resource'],
    [
      'more hashes than counted',
      measurement(7, true, sixteen).replace('alternatives="16"', 'alternatives="15"'),
      'rim-resource',
    ],
    ['a huge count', good.replace('alternatives="1"', 'alternatives="99999"'), 'rim-resource'],
    ['no count', good.replace(' alternatives="1"', ''), 'rim-resource'],
    ['a gap', measurement(7, true, sixteen.slice(0, 2)).replace('Hash1', 'Hash2'), 'rim-resource'],
    ['a hash without its namespace', good.replace('ns2:Hash0', 'Hash0'), 'rim-attribute'],
    ['a short hash', good.replace(digestOf(7), digestOf(7).slice(2)), 'rim-value'],
    ['a hash that is not hexadecimal', good.replace(digestOf(7), digestOf(7).replace('0', 'g')), 'rim-value'],
    ['another size', good.replace('size="48"', 'size="32"'), 'rim-resource'],
    ['no size', good.replace(' size="48"', ''), 'rim-resource'],
    ['a minimum beside the hash', good.replace('/>', ' ns3:minSvn="1"/>'), 'rim-resource'],
    ['a display beside the hash', good.replace('/>', ' ns3:includeInResult="True"/>'), 'rim-resource'],
  ])('NR-23: %s', (_, resource, expected) => {
    expect(codeOf(withResources(resource))).toBe(expected);
  });

  it.each([
    ['the least', securityVersion(4096, '0'), 'accepted'],
    ['the greatest', securityVersion(69631, '65535'), 'accepted'],
    ['above', securityVersion(4133, '65536'), 'rim-resource'],
    ['not decimal', securityVersion(4133, '0x1'), 'rim-value'],
    ['a leading zero', securityVersion(4133, '01'), 'rim-value'],
    ['no minimum', securityVersion(4133, '1').replace(' ns3:minSvn="1"', ''), 'rim-resource'],
    [
      'a minimum of no namespace',
      securityVersion(4133, '1').replace('ns3:minSvn', 'minSvn'),
      'rim-attribute',
    ],
    ['a hash', securityVersion(4133, '1', ` ns2:Hash0="${digestOf(1)}"`), 'rim-resource'],
    ['two alternatives', securityVersion(4133, '1', ' alternatives="2"'), 'rim-resource'],
    ['another size', securityVersion(4133, '1', ' size="48"'), 'rim-resource'],
    ['another display', securityVersion(4133, '1', ' ns3:includeInResult="yes"'), 'rim-value'],
    ['between the ranges', securityVersion(64, '1'), 'rim-resource'],
    ['below opaque data', measurement(4095, true, [digestOf(1)]), 'rim-resource'],
    ['above all', securityVersion(69632, '1'), 'rim-resource'],
    ['a hash at such an index', measurement(4133, true, [digestOf(1)]), 'rim-resource'],
  ])('NR-24: %s', (_, resource, expected) => {
    expect(codeOf(withResources(resource))).toBe(expected);
  });
});
