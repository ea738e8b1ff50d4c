import 'uplot/dist/uPlot.min.css';
import { render } from 'preact';
import { Console } from './console.tsx';

const root = document.querySelector('#console');
if (root !== null) render(<Console />, root);
