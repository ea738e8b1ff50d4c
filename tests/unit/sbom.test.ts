/** The image's bill of materials, made of npm's of a whole installation. */
import { describe, expect, it } from 'vitest';
import { sbomOfImage } from '../../src/cli/sbom.ts';

const OF_DEVELOPMENT = { name: 'cdx:npm:package:development', value: 'true' };
const component = (name: string, ...properties: readonly object[]) => ({
  'bom-ref': `${name}@1.0.0`,
  name,
  properties,
});
const whole = {
  bomFormat: 'CycloneDX',
  specVersion: '1.5',
  metadata: { timestamp: 'now', component: { 'bom-ref': 'x@1.0.0', type: 'library', name: 'app' } },
  components: [
    component('runs', { name: 'cdx:npm:package:path', value: 'node_modules/runs' }),
    component('checks', OF_DEVELOPMENT),
    component('preact', OF_DEVELOPMENT),
  ],
  dependencies: [
    { ref: 'x@1.0.0', dependsOn: ['runs@1.0.0', 'checks@1.0.0', 'preact@1.0.0'] },
    { ref: 'checks@1.0.0', dependsOn: ['runs@1.0.0'] },
    { ref: 'runs@1.0.0' },
  ],
};

describe('the bill of materials', () => {
  it('has what runs and what is in the page, and names nothing else', () => {
    const made = sbomOfImage(whole, 'fairlane');
    expect(made['components']).toEqual([
      component('runs', { name: 'cdx:npm:package:path', value: 'node_modules/runs' }),
      // It is part of the image, not of development.
      component('preact'),
    ]);
    expect(made['dependencies']).toEqual([
      { ref: 'x@1.0.0', dependsOn: ['runs@1.0.0', 'preact@1.0.0'] },
      { ref: 'runs@1.0.0', dependsOn: [] },
    ]);
  });

  it('is called by the package’s name, whatever the folder is called, and keeps the rest', () => {
    expect(sbomOfImage(whole, 'fairlane')).toMatchObject({
      bomFormat: 'CycloneDX',
      specVersion: '1.5',
      metadata: {
        timestamp: 'now',
        component: { 'bom-ref': 'x@1.0.0', type: 'application', name: 'fairlane' },
      },
    });
  });

  it.each([
    undefined,
    null,
    'text',
    [],
    {},
    { bomFormat: 'SPDX' },
    { bomFormat: 'CycloneDX' },
    { bomFormat: 'CycloneDX', metadata: 7 },
  ])('is not made of %j', (written) => {
    expect(() => sbomOfImage(written, 'fairlane')).toThrow();
  });

  it('takes what is odd in it for nothing', () => {
    const odd = { ...whole, components: [7, null, component('runs')], dependencies: 'none' };
    expect(sbomOfImage(odd, 'fairlane')).toMatchObject({ components: [component('runs')], dependencies: [] });
  });
});
