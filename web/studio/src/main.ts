import { mount } from 'svelte';
import App from './App.svelte';
import './styles/tokens.css';
import './styles/base.css';
import './styles/tones.css';

const target = document.getElementById('app');
if (!target) throw new Error('index.html has no element #app to put the page into.');
target.replaceChildren();
mount(App, { target });
